package trouble

import (
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// failed goes by pods as well as by the Job's own verdict, as the agent did. Kubernetes
// never reports a flow that failed beside containers that keep its pod alive.
func failed(j *batchv1.Job, pods []*corev1.Pod, note Note, r Rules) (Finding, bool) {
	verdict := condition(j, batchv1.JobFailed)
	byPods := verdict != nil || !r.PodRetries
	f := Finding{Kind: Failed, Final: true, Unbegun: true}
	var why []string
	for _, p := range pods {
		from := Ended(p)
		switch {
		case note.IsPast(p):
			continue
		case p.Status.Phase == corev1.PodFailed && byPods:
		case isDead(p) && byPods:
		case isDead(p):
			from = from.Add(r.Grace) // the others may be about to end, and then Kubernetes reports it
		default:
			continue
		}
		f.Pods, f.From, f.Unbegun = append(f.Pods, p.Name), earlier(f.From, from), f.Unbegun && isUnbegun(p)
		if reason := reasonOf(p); reason != "" && !slices.Contains(why, reason) {
			why = append(why, reason)
		}
	}
	switch {
	case len(f.Pods) > 0:
		f.Message = fmt.Sprintf("Kubernetes Error: pods ['%s'] failed for this job", strings.Join(f.Pods, "', '"))
		if len(why) > 0 {
			f.Message += ": " + strings.Join(why, ", ")
		}
	case verdict != nil:
		// Kubernetes has deleted the pods, as after activeDeadlineSeconds.
		f.From = verdict.LastTransitionTime.Time
		f.Message = "Kubernetes Error: " + sentence("Job "+j.Name+" failed", verdict.Reason, verdict.Message)
		f.Unbegun = verdict.Reason == batchv1.JobReasonBackoffLimitExceeded && !slices.ContainsFunc(pods, hasBegun)
	case byPods && int(j.Status.Failed)-terminating(pods) > len(note.Past):
		f.From = j.CreationTimestamp.Time
		f.Message = fmt.Sprintf("Kubernetes Error: %d pods failed for this job and are gone", j.Status.Failed)
	default:
		return Finding{}, false
	}
	return f, true
}

// reasonOf is the one word that Kubernetes has for a pod's end, as OOMKilled or Evicted; empty
// if it says no more than that it ended.
func reasonOf(p *corev1.Pod) string {
	ended := flowOf(p).status.State.Terminated
	if p.Status.Reason != "" || ended == nil || slices.Contains([]string{"Error", "Completed"}, ended.Reason) {
		return p.Status.Reason
	}
	return ended.Reason
}

// terminating counts pods that still run although they are being deleted. Kubernetes
// counts them as failed already, though they may have half a minute.
func terminating(pods []*corev1.Pod) (n int) {
	for _, p := range pods {
		if p.DeletionTimestamp != nil && !isOver(p) {
			n++
		}
	}
	return n
}

func hasBegun(p *corev1.Pod) bool { return flowOf(p).hasBegun() }

// Ended is when the last container of a pod ended, or when the pod was created if no
// container is known to have ended.
func Ended(p *corev1.Pod) time.Time {
	var at time.Time
	for _, c := range p.Status.ContainerStatuses {
		if t := c.State.Terminated; t != nil {
			at = later(at, t.FinishedAt.Time)
		}
	}
	if at.IsZero() {
		at = p.CreationTimestamp.Time
	}
	return at
}
