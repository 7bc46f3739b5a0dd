package trouble

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// PodStory tells of a failed pod in the agent's words (prefect1 §6), and adds Kubernetes'
// words about the pod itself, for example that it was evicted.
func PodStory(p *corev1.Pod) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Pod %s failed.", p.Name)
	for _, line := range []struct{ label, text string }{{"Message", p.Status.Message}, {"Reason", p.Status.Reason}} {
		if line.text != "" {
			fmt.Fprintf(&b, "\n\t%s: %s", line.label, line.text)
		}
	}
	if len(p.Status.ContainerStatuses) == 0 {
		b.WriteString("\n\tNo container statuses found for pod")
	}
	for _, c := range p.Status.ContainerStatuses {
		containerStory(&b, c)
	}
	return b.String()
}

func containerStory(b *strings.Builder, c corev1.ContainerStatus) {
	state := "Not Found"
	switch {
	case c.State.Running != nil:
		state = "running"
	case c.State.Waiting != nil:
		state = "waiting"
	case c.State.Terminated != nil:
		state = "terminated"
	}
	fmt.Fprintf(b, "\n\tContainer '%s' state: %s", c.Name, state)
	t := c.State.Terminated
	if state != "terminated" {
		return
	}
	fmt.Fprintf(b, "\n\t\tExit Code:: %d", t.ExitCode)
	if t.Message != "" {
		fmt.Fprintf(b, "\n\t\tMessage: %s", t.Message)
	}
	if t.Reason != "" {
		fmt.Fprintf(b, "\n\t\tReason: %s", t.Reason)
	}
	if t.Signal != 0 {
		fmt.Fprintf(b, "\n\t\tSignal: %d", t.Signal)
	}
}

// EventLine is an event of a pod or Job in the agent's words.
func EventLine(e corev1.Event) string {
	kind := strings.ToLower(e.InvolvedObject.Kind)
	if kind == "" {
		kind = "pod"
	}
	return fmt.Sprintf("Event: '%s' on %s '%s'\n\tMessage: %s", e.Reason, kind, e.InvolvedObject.Name, e.Message)
}

// EventTime is when an event last happened. Newer components fill in only EventTime, so
// the agent never showed their events (prefect1 §9.1-B10).
func EventTime(e corev1.Event) time.Time {
	for _, t := range []time.Time{e.LastTimestamp.Time, e.EventTime.Time, e.FirstTimestamp.Time} {
		if !t.IsZero() {
			return t
		}
	}
	return e.CreationTimestamp.Time
}
