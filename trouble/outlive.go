package trouble

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// JudgeEnding is for the Job of a run that has been in that state since then, if
// it is one in which the Job should end. A pod does so by itself when it finds out;
// grace is given for that.
func JudgeEnding(j *batchv1.Job, state prefect.StateType, since time.Time, r Rules) (Finding, bool) {
	note := NoteOf(j)
	if j.DeletionTimestamp != nil || note.Done || note.Spent || Finished(j) {
		return Finding{}, false
	}
	f, grace := Finding{Final: true}, time.Duration(0)
	switch {
	case state == prefect.Cancelled:
		f.Kind, grace = Cancelled, r.Grace
		f.Message = "the run was cancelled; its Job " + j.Name + " is stopped"
	case state == prefect.Cancelling:
		f.Kind, grace = Cancelling, r.CancelGrace
		f.Message = "The flow did not end in " + r.CancelGrace.String() + " after it was cancelled, so its Job " + j.Name + " is stopped"
	case state.IsFinished():
		f.Kind, grace = Outlived, r.FinishedGrace
		f.Message = "the run has finished; its Job " + j.Name + " is stopped"
	}
	if grace <= 0 || since.IsZero() {
		return Finding{}, false
	}
	f.From = later(since.Add(grace), note.Until)
	return f, true
}

// outlived is a Job whose flow has ended well, in all its pods that are left,
// while other containers go on.
func outlived(j *batchv1.Job, pods []*corev1.Pod, r Rules) (Finding, bool) {
	f := Finding{Kind: Outlived, Final: true, Message: "the flow of Job " + j.Name + " has ended; what goes on of it is stopped"}
	for _, p := range pods {
		if Executes(p) {
			return Finding{}, false
		}
		if end := flowOf(p).ended(); end != nil && !isOver(p) && p.DeletionTimestamp == nil {
			f.Pods, f.From = append(f.Pods, p.Name), later(f.From, end.FinishedAt.Add(r.Grace))
		}
	}
	return f, len(f.Pods) > 0
}

// NothingLeft reports whether nothing of a run goes on in the cluster and nothing
// is wrong with its Jobs, if there are any left. A run that is Running all the
// same will do so for ever.
func NothingLeft(jobs []*batchv1.Job, pods []*corev1.Pod, r Rules) bool {
	for _, j := range jobs {
		if f, found := Judge(j, pods, r); found && f.Kind != Outlived || CanTake(j, pods) {
			return false
		}
	}
	return !slices.ContainsFunc(pods, Executes)
}
