package trouble

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// stuck is what keeps an unfinished Job from going on, or is wrong beside its flow.
func stuck(j *batchv1.Job, pods []*corev1.Pod, r Rules) (Finding, bool) {
	var beside Finding
	for _, p := range pods {
		if p.DeletionTimestamp != nil {
			continue
		}
		f, found := waiting(p, r)
		if found && f.Final {
			return f, true
		}
		if beside.Kind == "" {
			beside = f
		}
	}
	for _, p := range pods {
		if p.DeletionTimestamp == nil && unstarted(p) {
			return Finding{
				Kind: Unstarted, From: p.Status.StartTime.Add(r.Grace), Pods: []string{p.Name},
				Message: "Kubernetes Error: pod " + p.Name + " does not start",
			}, true
		}
		for _, c := range p.Status.Conditions {
			if p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodPending && c.Type == corev1.PodScheduled &&
				c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
				since := later(p.CreationTimestamp.Time, c.LastTransitionTime.Time)
				return Finding{
					Kind: Unschedulable, From: since.Add(r.Grace), Pods: []string{p.Name},
					Message: sentence("Kubernetes Error: pod "+p.Name+" cannot be scheduled", c.Message),
				}, true
			}
		}
	}
	if f, found := outlived(j, pods, r); found {
		return f, true
	}
	if beside.Kind != "" {
		return beside, true
	}
	s := j.Status
	since := j.CreationTimestamp.Time
	if len(pods) > 0 || s.Active > 0 || s.Succeeded > 0 || s.Failed > 0 || since.IsZero() {
		return Finding{}, false
	}
	if s.StartTime != nil {
		since = later(since, s.StartTime.Time)
	}
	return Finding{Kind: NoPods, From: since.Add(r.Grace), Message: "Kubernetes Error: no pod is created for Job " + j.Name}, true
}

// waiting is the first container that cannot start and without which the flow
// cannot; failing that, the first of the others. The flow cannot without its own
// container, nor, until it has had its turn, without the one whose turn it is. The
// grace is counted from when it was a container's turn: they start one after
// another, and one that ends may be started again.
func waiting(p *corev1.Pod, r Rules) (beside Finding, found bool) {
	turn := p.CreationTimestamp.Time
	if p.Status.StartTime != nil {
		turn = later(turn, p.Status.StartTime.Time) // when it got its node
	}
	flow := flowOf(p)
	hadItsTurn := flow.runs() || flow.status.State.Terminated != nil
	before := len(p.Status.InitContainerStatuses)
	atTurn := lastBegun(p.Status.InitContainerStatuses)
	for i, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		w, since := c.State.Waiting, turn
		switch last := c.LastTerminationState.Terminated; {
		case w == nil && i < before && backsOff(p, c):
			w, since = backOff(c), c.State.Terminated.FinishedAt.Time
		case w == nil:
			turn = later(turn, begunOrEnded(c.State))
			continue
		case last != nil:
			since = last.FinishedAt.Time
		}
		f := Finding{From: since.Add(r.Grace), Pods: []string{p.Name}, Container: c.Name}
		switch w.Reason {
		case "ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError", "SignatureValidationFailed":
			f.Kind = ImagePull
		case "InvalidImageName", "ErrImageNeverPull":
			f.Kind, f.From = ImagePull, since // no time mends these
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreStartHookError", "PostStartHookError":
			f.Kind = Container
		case "CrashLoopBackOff":
			// The pause between two tries grows; once it is longer than the grace there is
			// not much to hope for.
			f.Kind = CrashLoop
		default:
			continue // ContainerCreating, PodInitializing
		}
		if c.Name == flow.Name || atTurn <= i && i < before && !hadItsTurn {
			f.Final, f.Message = true, "Kubernetes Error: "+cmp.Or(w.Message, w.Reason)
			return f, true
		}
		if !found {
			f.Kind = Sidecar
			f.Message = sentence("Kubernetes Error: container '"+c.Name+"' of pod "+p.Name+" does not run beside the flow", w.Reason, w.Message)
			beside, found = f, true
		}
	}
	return beside, found
}

// backsOff reports whether a native sidecar has ended and is to be started again.
// In a pod that itself is not, the kubelet shows no pause between two tries, only
// that it has ended. (In others it shows CrashLoopBackOff.)
func backsOff(p *corev1.Pod, c corev1.ContainerStatus) bool {
	return c.State.Terminated != nil && !isOver(p) && slices.ContainsFunc(p.Spec.InitContainers, func(s corev1.Container) bool {
		return s.Name == c.Name && isNative(s)
	})
}

func isNative(c corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// backOff is what the kubelet says of other containers that are about to be started
// again.
func backOff(c corev1.ContainerStatus) *corev1.ContainerStateWaiting {
	return &corev1.ContainerStateWaiting{
		Reason:  "CrashLoopBackOff",
		Message: fmt.Sprintf("back-off restarting container %s, which ended with exit code %d", c.Name, c.State.Terminated.ExitCode),
	}
}

// begunOrEnded is when the next container had its turn after this one.
func begunOrEnded(s corev1.ContainerState) time.Time {
	switch {
	case s.Running != nil:
		return s.Running.StartedAt.Time
	case s.Terminated != nil:
		return s.Terminated.FinishedAt.Time
	}
	return time.Time{}
}

// unstarted reports whether a node has had the pod and none of its containers,
// those that run before the others included, has ever run.
func unstarted(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodPending && p.Status.StartTime != nil &&
		!slices.ContainsFunc(slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses), begun)
}

// lastBegun is which of the containers that run before the flow's was the last to
// begin; those before it were not in its way.
func lastBegun(all []corev1.ContainerStatus) int {
	for i, c := range slices.Backward(all) {
		if begun(c) {
			return i
		}
	}
	return 0
}

func begun(c corev1.ContainerStatus) bool {
	return c.State.Running != nil || c.State.Terminated != nil || c.LastTerminationState.Terminated != nil
}
