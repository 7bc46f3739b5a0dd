package trouble

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Chores, which are no trouble: a launcher that is up does them, and none is
// woken for one.
const (
	// Over: what the run was told of is over, and its pod's events since are to be
	// told.
	Over Kind = "over"
	// Lasting: the Job completed and has no time to live. The agent deleted such
	// Jobs; those it left behind have none, nor have those from when finished Jobs
	// were kept.
	Lasting Kind = "lasting"
)

// IsChore reports whether a launcher need not be woken.
func (k Kind) IsChore() bool { return k == Over || k == Lasting }

// Chore is what is left to do about a Job that is in no trouble, given its run's
// pods. A Job that was seen to and kept is left as it is.
func Chore(j *batchv1.Job, pods []*corev1.Pod) (Finding, bool) {
	note := NoteOf(j)
	if j.DeletionTimestamp != nil || note.Done || note.Spent {
		return Finding{}, false
	}
	if note.Told != "" && note.Told != Sidecar { // a sidecar's is told once, over or not
		f := Finding{Kind: Over, From: note.Until}
		for _, p := range PodsOf(j, pods) {
			if p.Status.Phase == corev1.PodRunning || p.Status.Phase == corev1.PodSucceeded {
				f.Pods = append(f.Pods, p.Name)
			}
		}
		if len(f.Pods) > 0 {
			return f, true
		}
	}
	if condition(j, batchv1.JobComplete) != nil && j.Spec.TTLSecondsAfterFinished == nil {
		return Finding{Kind: Lasting}, true
	}
	return Finding{}, false
}
