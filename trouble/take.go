package trouble

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// CanTake reports whether a Job may yet take its run: neither the Job nor the flow in all
// its pods has ended. A sidecar can keep pod and Job going long after the flow.
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

// PastCare spares judging most Jobs: they have succeeded and wait for their removal.
func PastCare(j *batchv1.Job) bool {
	return j.Status.Succeeded > 0 && j.Status.Failed == 0 && j.Spec.TTLSecondsAfterFinished != nil && j.Annotations[Annotation] == ""
}
