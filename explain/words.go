package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func (f Facts) message() string {
	if m := plain(f.Run.State.Message); m != "" || len(f.Past) == 0 {
		return m
	}
	return plain(f.Past[0].Message)
}

func (f Facts) looked(namespace string) bool { return slices.Contains(f.Namespaces, namespace) }

// since says when something happened, and how long ago.
func (f Facts) since(t time.Time) string {
	if t.IsZero() {
		return "since some time"
	}
	return fmt.Sprintf("since %s (%s)", f.clock(t), short(f.At.Sub(t)))
}

// when says at what time something happened, and how long ago.
func (f Facts) when(t time.Time) string {
	if t.IsZero() {
		return "some time ago"
	}
	return fmt.Sprintf("at %s (%s ago)", f.clock(t), short(f.At.Sub(t)))
}

// clock is the time of day, with the date if that is not today.
func (f Facts) clock(t time.Time) string {
	t = t.In(f.At.Location())
	if t.Format(time.DateOnly) == f.At.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// short is a duration in at most two units.
func short(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}

func named(labels []string) string {
	if len(labels) == 0 {
		return "none"
	}
	return "[" + strings.Join(labels, ", ") + "]"
}

// standing describes a pod: its phase, and what its containers wait for.
func standing(p *corev1.Pod) string {
	said := []string{string(cmp.Or(p.Status.Phase, corev1.PodPending))}
	if p.Status.Reason != "" {
		said = append(said, p.Status.Reason)
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			said = append(said, "no node: "+plain(c.Message))
		}
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		switch s := c.State; {
		case s.Waiting != nil:
			said = append(said, fmt.Sprintf("%s waits: %s", c.Name, cmp.Or(plain(s.Waiting.Message), s.Waiting.Reason, "it does not say for what")))
		case s.Terminated != nil:
			said = append(said, fmt.Sprintf("%s ended with exit code %d%s", c.Name, s.Terminated.ExitCode, before(": ", s.Terminated.Reason)))
		case s.Running != nil:
			said = append(said, c.Name+" runs")
		}
	}
	return strings.Join(said, ", ")
}
