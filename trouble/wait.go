package trouble

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Wait is a passing hindrance of a Job's pod.
type Wait struct {
	Kind  Kind
	Since time.Time
	// Until is when the run fails; zero if it waits for ever.
	Until   time.Time
	Message string
}

// WaitKinds are the kinds of a Wait, in order.
func WaitKinds() []Kind { return []Kind{Unstarted, Unschedulable, NoPods} }

// MayPass reports whether a Job in that trouble goes on by itself once its cause is
// gone.
func (k Kind) MayPass() bool { return k == Unstarted || k == Unschedulable || k == NoPods }

// Waits finds the Wait of a Job, given its run's pods, whether or not the run was told:
// people want to know. Most new Jobs wait a moment, so the caller adds the grace.
func Waits(j *batchv1.Job, pods []*corev1.Pod, r Rules) (Wait, bool) {
	note := NoteOf(j)
	if !r.judges(j) || note.Done || note.Spent || Finished(j) || j.Spec.Suspend != nil && *j.Spec.Suspend {
		return Wait{}, false
	}
	own := PodsOf(j, pods)
	if _, has := failed(j, own, note, r); has {
		return Wait{}, false
	}
	f, has := hindered(j, own, r)
	if !has || !f.Kind.MayPass() {
		return Wait{}, false
	}
	w := Wait{Kind: f.Kind, Since: f.From.Add(-r.Grace), Message: f.Message}
	if r.PendingFor > 0 {
		w.Until = w.Since.Add(r.PendingFor)
	}
	if f.Kind != Unschedulable && note.Told == f.Kind && note.Why != "" {
		w.Message = note.Why // only the events knew
	}
	return w, true
}
