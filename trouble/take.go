package trouble

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// CanTake reports whether a Job may yet take its run: it has not ended, and not
// all its pods are past that. Where a sidecar does not end, neither do pod and
// Job, long after the flow has.
func CanTake(j *batchv1.Job, pods []*corev1.Pod) bool {
	if Finished(j) || j.Status.Succeeded > 0 {
		return false
	}
	over := false
	for _, p := range PodsOf(j, pods) {
		switch {
		case p.Status.Phase == corev1.PodFailed:
			// Another pod may follow one that failed.
		case Executes(p):
			return true
		default:
			over = true
		}
	}
	return !over
}

// Executes reports whether a pod executes its run, or may yet: it has not ended,
// nor has its first container for good, which is the flow's (prefect1-spec §4.2).
func Executes(p *corev1.Pod) bool {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return false
	}
	for _, c := range p.Status.ContainerStatuses {
		if len(p.Spec.Containers) > 0 && c.Name == p.Spec.Containers[0].Name && c.State.Terminated != nil {
			return c.State.Terminated.ExitCode != 0 && p.Spec.RestartPolicy != corev1.RestartPolicyNever
		}
	}
	return true
}
