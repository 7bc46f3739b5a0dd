package prefect

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FlowRun is one execution of a flow, as much of it as claiming it and
// rendering its Job needs.
type FlowRun struct {
	ID   string
	Name string
	// Version counts state changes: 1 on creation, one more with every state
	// written. Together with ID it tells one scheduling from the next.
	Version int
	State   State
	Labels  []string
	Flow    Flow
	// RunConfig is the run's own run config as the API returns it, undecoded:
	// a bad one is its author's error and must not stop the runs beside it.
	// Empty or JSON null means the defaults.
	RunConfig json.RawMessage
	// Fault is why no Job can be made of the run, whatever its run config says; nil
	// when the backend knows of none.
	Fault *AuthorError
	// DueTasks are the task runs of a Running flow run whose retry time has
	// come. They are what makes such a run claimable; empty for all others. Of a
	// run that was read among many it is only the one that fell due first, which
	// is all that Due and Attempt depend on.
	DueTasks []TaskRun
	// Claim is what a launcher of ours wrote into the Submitted state; nil when
	// the run is not Submitted or was submitted by somebody else.
	Claim *Claim
	// LastClaim is the one a Running run with DueTasks was last submitted with; nil
	// when that was not done by a launcher of ours.
	LastClaim *Claim
	// Returned is how often the run was handed back because its pods never began; set
	// of Submitted runs only.
	Returned int
	// StateAt is when the present state was written; zero when unknown.
	StateAt time.Time
	// ReadAt is when the API was asked for this, by our own clock.
	ReadAt time.Time
	// Heartbeat is the last one the backend got; zero when none.
	Heartbeat time.Time
}

// Flow is the registered flow a run executes.
type Flow struct {
	ID   string
	Name string
	// CoreVersion is the Prefect version the flow was registered with; it
	// selects the default image and the pod's command. Empty when unknown.
	CoreVersion string
	// Storage is the flow's storage as the API returns it, undecoded.
	Storage json.RawMessage
}

// TaskRun is one task's execution inside a flow run.
type TaskRun struct {
	ID      string
	TaskID  string
	Version int
	State   State
}

// Due is when the run may start. A run whose state names no time is due from
// the beginning of time; compare with now and do not print it.
func (r FlowRun) Due() time.Time {
	if r.State.Type.IsScheduled() {
		return r.State.StartTime
	}
	if len(r.DueTasks) > 0 {
		return r.earliestTask().State.StartTime
	}
	return time.Time{}
}

// Claimable reports whether a launcher may claim the run at now: it is in the
// Scheduled family and due, or it is Running and waits for a task retry that is
// due.
func (r FlowRun) Claimable(now time.Time) bool {
	switch {
	case r.State.WaitsForAPerson():
		return false
	case r.State.Type.IsScheduled():
		return !r.Due().After(now)
	case r.State.Type == Running:
		return len(r.DueTasks) > 0 && !r.Due().After(now)
	}
	return false
}

// RetriesIn reports whether launchers in a namespace may retry the run's tasks in
// a new Job: its Job is, or was, there. That of another namespace or cluster may
// have a pod that lives, and somebody of its own who sees to it. A run that was
// submitted by none of ours is for anybody.
func (r FlowRun) RetriesIn(namespace, uid string) bool {
	return !r.State.Type.IsRunning() || r.LastClaim == nil || r.LastClaim.IsIn(namespace, uid)
}

// Attempt names one scheduling of one run. Every launcher that sees the run
// claimable in the same state computes the same Attempt, so a name derived from
// it can be the lock (see package job); a reschedule or a later retry gets
// another one.
type Attempt string

// Attempt of a Scheduled-family run is its version. A Running run keeps its
// version while its tasks retry, so there the task run that fell due first
// tells attempts apart: two launchers that see different numbers of due tasks
// still agree on the first.
func (r FlowRun) Attempt() Attempt {
	if len(r.DueTasks) > 0 && !r.State.Type.IsScheduled() {
		t := r.earliestTask()
		return Attempt("retry-" + t.ID + "-v" + strconv.Itoa(t.Version))
	}
	return Attempt("v" + strconv.Itoa(r.Version))
}

// Version is that of the state that made the run claimable; false for a retry,
// which is no state of the run.
func (a Attempt) Version() (int, bool) {
	digits, ok := strings.CutPrefix(string(a), "v")
	version, err := strconv.Atoi(digits)
	return version, ok && err == nil && a == Attempt("v"+strconv.Itoa(version))
}

func (r FlowRun) earliestTask() TaskRun {
	return slices.MinFunc(r.DueTasks, func(a, b TaskRun) int {
		return cmp.Or(a.State.StartTime.Compare(b.State.StartTime), cmp.Compare(a.ID, b.ID))
	})
}
