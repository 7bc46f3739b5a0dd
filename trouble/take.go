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
	over, failed := false, int32(0)
	for _, p := range PodsOf(j, pods) {
		switch {
		case p.Status.Phase == corev1.PodFailed:
			failed++
		case Executes(p):
			return true
		default:
			over = true
		}
	}
	return !over && mayReplace(j, max(failed, j.Status.Failed))
}

// mayReplace reports whether another pod may follow so many that failed. The Job controller
// takes a while to find that none may. Where a policy forgives some failures, only it knows.
func mayReplace(j *batchv1.Job, failed int32) bool {
	return j.Spec.BackoffLimit == nil || j.Spec.PodFailurePolicy != nil || failed <= *j.Spec.BackoffLimit
}

// PastCare spares judging most Jobs: they have succeeded and wait for their removal.
func PastCare(j *batchv1.Job) bool {
	return j.Status.Succeeded > 0 && j.Status.Failed == 0 && j.Spec.TTLSecondsAfterFinished != nil && j.Annotations[Annotation] == ""
}
