package trouble

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Chores are no trouble: a launcher that is up does them, and none is woken for one.
const (
	// Over: trouble that the run was told of is over, and its pod's events since then
	// have to be told.
	Over Kind = "over"
	// Lasting: the Job completed and has no time to live. The agent left such Jobs
	// behind, and so does a launcher that keeps finished Jobs.
	Lasting Kind = "lasting"
)

// IsChore reports whether a launcher need not be woken.
func (k Kind) IsChore() bool { return k == Over || k == Lasting }

// Chore finds a chore for a Job without trouble, given its run's pods. A Job that was
// resolved and kept needs none.
func Chore(j *batchv1.Job, pods []*corev1.Pod, r Rules) (Finding, bool) {
	note := NoteOf(j)
	if !r.judges(j) || note.Done || note.Spent {
		return Finding{}, false
	}
	if note.Told != "" && note.Told != Sidecar { // nobody is told that a sidecar's trouble is over
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
