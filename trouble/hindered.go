package trouble

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// hindered finds the hindrance of an unfinished Job, or trouble beside its flow.
func hindered(j *batchv1.Job, pods []*corev1.Pod, r Rules) (Finding, bool) {
	var beside Finding
	for _, p := range pods {
		if p.DeletionTimestamp != nil {
			continue
		}
		f, found := blocked(p, r)
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

// blocked finds the first container that cannot start and that the flow needs; otherwise
// the first of the others. The flow needs its own container and, before that had its turn,
// the one that has its turn now. The grace begins with a container's turn: containers
// start one after another, and one that ends may be started again.
func blocked(p *corev1.Pod, r Rules) (beside Finding, found bool) {
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
			f.Kind, f.From = ImagePull, since // these never pass
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreStartHookError", "PostStartHookError":
			f.Kind = Container
		case "CrashLoopBackOff":
			// The kubelet's pause grows. Once it is longer than the grace, there is little hope.
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

// backsOff reports whether a native sidecar has ended and will be started again. In a pod
// that never restarts, the kubelet shows it as ended and not as CrashLoopBackOff.
func backsOff(p *corev1.Pod, c corev1.ContainerStatus) bool {
	return c.State.Terminated != nil && !isOver(p) && slices.ContainsFunc(p.Spec.InitContainers, func(s corev1.Container) bool {
		return s.Name == c.Name && isNative(s)
	})
}

func isNative(c corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// backOff is the kubelet's words for other containers that it will start again.
func backOff(c corev1.ContainerStatus) *corev1.ContainerStateWaiting {
	return &corev1.ContainerStateWaiting{
		Reason:  "CrashLoopBackOff",
		Message: fmt.Sprintf("back-off restarting container %s, which ended with exit code %d", c.Name, c.State.Terminated.ExitCode),
	}
}

// begunOrEnded is when the turn passed from this container to the next.
func begunOrEnded(s corev1.ContainerState) time.Time {
	switch {
	case s.Running != nil:
		return s.Running.StartedAt.Time
	case s.Terminated != nil:
		return s.Terminated.FinishedAt.Time
	}
	return time.Time{}
}

// unstarted reports whether a node has the pod and none of its containers, init containers
// included, has ever run.
func unstarted(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodPending && p.Status.StartTime != nil &&
		!slices.ContainsFunc(slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses), begun)
}

// lastBegun is the index of the last init container that has begun.
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
