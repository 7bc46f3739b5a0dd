package trouble

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// JudgeEnding judges the Job of a run that should end in the phase that the run is in. A
// pod that has begun the flow gets a grace to end by itself.
func JudgeEnding(j *batchv1.Job, run prefect.JobRun, r Rules) (Finding, bool) {
	note := NoteOf(j)
	if !r.judges(j) || note.Done || note.Spent || Finished(j) {
		return Finding{}, false
	}
	f, grace := Finding{Final: true, Unbegun: run.NeverBegan}, time.Duration(0)
	atOnce := run.Phase == prefect.Cancelling && run.NeverBegan // no pod will end by itself
	switch phase := run.Phase; {
	case phase == prefect.Cancelled:
		f.Kind, grace = Cancelled, r.Grace
		f.Message = "the run was cancelled; its Job " + j.Name + " is stopped"
	case atOnce:
		f.Kind = Cancelling
		f.Message = "The run was cancelled before a pod began it, so its Job " + j.Name + " is stopped"
	case phase == prefect.Cancelling:
		f.Kind, grace = Cancelling, r.CancelGrace
		f.Message = "The flow did not end in " + r.CancelGrace.String() + " after it was cancelled, so its Job " + j.Name + " is stopped"
	case phase.IsFinished():
		f.Kind, grace = Outlived, r.FinishedGrace
		f.Message = "the run has finished; its Job " + j.Name + " is stopped"
	}
	if grace <= 0 && !atOnce || run.StateAt.IsZero() {
		return Finding{}, false
	}
	f.From = later(run.StateAt.Add(grace), note.Until)
	return f, true
}

// outlived finds a Job that goes on with other containers after the flow has ended well in
// all pods that are left.
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

// NothingLeft reports whether the cluster executes nothing of a run and no Job of it is in
// trouble. If such a run is Running, it stays so for ever.
func NothingLeft(jobs []*batchv1.Job, pods []*corev1.Pod, r Rules) bool {
	for _, j := range jobs {
		if f, found := Judge(j, pods, r); found && f.Kind != Outlived || CanTake(j, pods) {
			return false
		}
	}
	return !slices.ContainsFunc(pods, Executes)
}
