package launcher

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// Kind of an action on a flow run.
type Kind int

// The kinds of actions, each a row of NewPlan's table.
const (
	// Launch: claim the run, then create its Job.
	Launch Kind = iota + 1
	// Relaunch: create the Job of a Running run that needs its Job first, then claim.
	// Such a run has no state of its own to claim.
	Relaunch
	// Adopt: claim the run with the Job it has; create none.
	Adopt
	// Repair: create the Job of a claim that has none.
	Repair
	// Resolve: handle a Job in trouble, or a run whose Job is gone.
	Resolve
	// Review: ask whether a claim whose Job has ended came late, so that it brought back a
	// finished run or overwrote a restart; if so, undo it.
	Review
	// Heartbeat: tell Prefect that a claimed run's Job waits for its pod.
	Heartbeat
)

// String is the kind as logs and metrics spell it.
func (k Kind) String() string {
	names := []string{Launch: "launch", Relaunch: "relaunch", Adopt: "adopt", Repair: "repair", Resolve: "resolve", Review: "review", Heartbeat: "heartbeat"}
	if k <= 0 || int(k) >= len(names) {
		return "none"
	}
	return names[k]
}

// Action is one element of a plan.
type Action struct {
	Kind Kind
	Run  prefect.FlowRun
	// Job is the Job to adopt, or the one in trouble; it is in the namespace.
	Namespace, Job string
	// Finding is the trouble; then only the ID of Run is known.
	Finding trouble.Finding
}

// World is all that a plan depends on.
type World struct {
	Now time.Time
	// NamespaceUID is that of the home namespace, and Further are the others with our Jobs;
	// claims from elsewhere are another launcher's.
	NamespaceUID string
	Further      prefect.Namespaces
	// Due and Claimed are what the backend answered.
	Due     []prefect.FlowRun
	Claimed []prefect.FlowRun
	// Present by flow run.
	Present map[string]jobs.Presence
	// Troubled are the Jobs in trouble, and SupervisedRead when Prefect was asked
	// for what Kubernetes does not know of them.
	Troubled       []jobs.Troubled
	SupervisedRead time.Time
	// Busy are the runs being acted on.
	Busy map[string]bool
	// Settled is when we last finished an action on a run. An older answer of Prefect does
	// not know of it.
	Settled map[string]time.Time
	// NotBefore is when the subject of an action may be planned again, by backoffKey.
	NotBefore map[string]time.Time
	// KeepBy is when a run needs its next heartbeat after ours, by our own clock.
	KeepBy map[string]time.Time
	// Rotation counts plans.
	Rotation int
}

// Plan is what follows from a World.
type Plan struct {
	// Actions to take now, in this order.
	Actions []Action
	// Ahead are actions whose run falls due later, in due order.
	Ahead []Action
}

// reviewFor is how long after it was written a claim is reviewed. By then Prefect gives up
// a run without a sign of life.
const reviewFor = 10 * time.Minute

// NewPlan decides. It is a pure function:
//
//	due run, Waiting           | a Job, of any attempt, that can take it    | Adopt
//	                           | a Job that is being deleted                | nothing yet
//	                           | no such Job, a pod that lives              | nothing yet
//	                           | else                                       | Launch
//	due run, Running           | last claimed from elsewhere                | nothing: its Job and its launchers are there
//	                           | a Job of this attempt                      | Adopt
//	                           | another Job that can take it               | nothing: its pod goes on by itself
//	                           | a Job that is being deleted                | nothing yet
//	                           | no such Job, a pod that lives              | nothing yet
//	                           | else                                       | Relaunch
//	run ahead                  |                                            | the same, later
//	run claimed from here      | a Job, of any attempt, that can take it    | Heartbeat, when the next one is due
//	                           | no such Job, a pod that lives              | nothing yet
//	                           | a Job of the claim's attempt               | Review; else nothing: its pod ended without the run
//	                           | neither, but Prefect knows of its Job      | nothing: that Job was deleted
//	                           | neither, claim older than grace or our own | Repair
//	                           | neither, younger claim                     | nothing: its launcher creates it
//	run claimed from elsewhere |                                            | nothing: another namespace or cluster
//	Job in trouble, or chore   | whose time has come                        | Resolve
//
// Runs in flight, runs in backoff and runs that we finished with since they were read are
// left alone. One claim is reviewed at a time, only for some minutes after it was made.
func NewPlan(o Options, w World) Plan {
	var p Plan
	// A run that changed between the two reads is in both; the later read counts.
	dueRead, claimedRead := reads(w.Due), reads(w.Claimed)
	for _, run := range w.Claimed {
		if due, isDue := dueRead[run.ID]; w.skips(run) || isDue && !due.Before(run.ReadAt) {
			continue
		}
		if a := (Action{Kind: claimedAction(o, w, run), Run: run}); a.Kind != 0 && !w.backsOff(a) {
			p.Actions = append(p.Actions, a)
		}
	}
	slices.SortStableFunc(p.Actions, func(a, b Action) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Run.StateAt.Compare(b.Run.StateAt))
	})
	byKind := func(a Action, k Kind) int { return cmp.Compare(a.Kind, k) }
	reviews, _ := slices.BinarySearchFunc(p.Actions, Review, byKind)
	beats, _ := slices.BinarySearchFunc(p.Actions, Heartbeat, byKind)
	if reviews < beats {
		p.Actions = slices.Delete(p.Actions, reviews+1, beats)
	}

	var due []Action
	for _, run := range w.Due {
		if w.skips(run) || run.ReadAt.Before(claimedRead[run.ID]) || !o.Scope.Takes(run.Place) || !run.Claimable(run.Due) {
			continue
		}
		kind, adopted := dueAction(run, w.Present[run.ID], o.Namespace, w.NamespaceUID)
		if kind == 0 {
			continue
		}
		a := Action{Kind: kind, Run: run, Namespace: adopted.Namespace, Job: adopted.Name}
		if w.backsOff(a) {
			continue
		}
		if run.Due.After(w.Now) {
			p.Ahead = append(p.Ahead, a)
		} else {
			due = append(due, a)
		}
	}
	// What has been claimed and lacks its Job comes first, chores, reviews and signs
	// of life last.
	urgent, chores := troubledActions(o, w)
	p.Actions = slices.Insert(p.Actions, reviews, slices.Concat(rotated(urgent, o.Name, w.Rotation), rotated(due, o.Name, w.Rotation), rotated(chores, o.Name, w.Rotation))...)
	slices.SortStableFunc(p.Ahead, byDue)
	return p
}

// reads are when runs were read.
func reads(runs []prefect.FlowRun) map[string]time.Time {
	at := make(map[string]time.Time, len(runs))
	for _, r := range runs {
		at[r.ID] = r.ReadAt
	}
	return at
}

// skips reports whether nothing may be decided about a run as it was read.
func (w World) skips(run prefect.FlowRun) bool {
	if settled, ok := w.Settled[run.ID]; ok && !run.ReadAt.After(settled) {
		return true
	}
	return w.Busy[run.ID]
}

func (w World) backsOff(a Action) bool { return w.NotBefore[a.backoffKey()].After(w.Now) }

func dueAction(run prefect.FlowRun, found jobs.Presence, namespace, uid string) (kind Kind, adopted jobs.Job) {
	if !run.RetriesIn(namespace, uid) {
		return 0, jobs.Job{}
	}
	attempt := job.AttemptLabel(run.Attempt)
	var able, own jobs.Job
	for _, j := range found.Jobs {
		switch {
		case j.Terminating:
			// Its pods may run until it is gone; a second Job now would run beside them.
			return 0, jobs.Job{}
		case j.Attempt == attempt:
			own = j
		}
		if j.CanTake {
			able = j
		}
	}
	switch {
	case run.JobFirst && own.Name != "":
		return Adopt, own
	case run.JobFirst && able.Name != "":
		return 0, jobs.Job{}
	case able.Name != "":
		return Adopt, able
	case found.Alive:
		// Its Job was deleted, or has ended, and left it behind.
		return 0, jobs.Job{}
	case run.JobFirst:
		return Relaunch, jobs.Job{}
	}
	return Launch, jobs.Job{}
}

func claimedAction(o Options, w World, run prefect.FlowRun) Kind {
	if run.Claim == nil || !run.Claim.IsIn(o.Namespace, w.NamespaceUID) && !w.Further.Have(*run.Claim) || !o.Scope.Takes(run.Place) {
		return 0
	}
	attempt := job.AttemptLabel(run.Claim.Attempt)
	found := w.Present[run.ID]
	switch {
	case slices.ContainsFunc(found.Jobs, func(j jobs.Job) bool { return j.CanTake }):
		if by := run.KeepBy; !by.IsZero() && !by.After(w.Now) && !w.KeepBy[run.ID].After(w.Now) {
			return Heartbeat
		}
	case found.Alive:
		// Its Job was deleted and left it behind; a second pod would run beside it
		// (prefect1-server §k).
	case slices.ContainsFunc(found.Jobs, func(j jobs.Job) bool { return j.Attempt == attempt }):
		// Either its pod never set the run Running and Prefect will give the run up, or the
		// run ended and the claim came late.
		if age := w.Now.Sub(run.StateAt); age >= o.ClaimGrace && age < reviewFor {
			return Review
		}
	case run.HasJob:
		// It was deleted, which package trouble sees.
	case run.Claim.Launcher == o.Name, w.Now.Sub(run.StateAt) >= o.ClaimGrace:
		// Our own claim that is not in flight is from before a restart.
		return Repair
	}
	return 0
}

// troubledActions are the Jobs in trouble. A launcher takes a case by a note on its Job;
// where no Job is left, launchers come one after another instead.
func troubledActions(o Options, w World) (urgent, chores []Action) {
	for _, t := range w.Troubled {
		from := t.From
		if t.Kind == trouble.JobGone {
			from = w.SupervisedRead.Add(time.Duration(hash(o.Name+"/"+t.Run)%10) * time.Second)
		}
		a := Action{Kind: Resolve, Run: prefect.FlowRun{ID: t.Run}, Namespace: t.Namespace, Job: t.Job, Finding: t.Finding}
		switch {
		case from.After(w.Now), w.Busy[t.Run], w.backsOff(a), t.Kind == trouble.Lasting && !o.DeleteFinished:
		case t.Kind.IsChore():
			chores = append(chores, a)
		default:
			urgent = append(urgent, a)
		}
	}
	return urgent, chores
}

// backoffKey names the subject of an action: an old Job must not hold up its run, nor an
// unclear claim the repair after it.
func (a Action) backoffKey() string {
	switch {
	case a.Kind == Resolve:
		return "job " + a.Job
	case !a.isDue():
		return "claim " + a.Run.ID
	}
	return a.Run.ID
}

// handedBackKey counts how often the run was handed back.
func (a Action) handedBackKey() string { return "return " + a.Run.ID }

func hash(text string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(text))
	return h.Sum32()
}

func byDue(a, b Action) int {
	return cmp.Or(a.Run.Due.Compare(b.Run.Due), cmp.Compare(a.Run.ID, b.Run.ID), cmp.Compare(a.Job, b.Job))
}

// rotated starts each launcher at another place of the due order, so that launchers
// rarely meet, and moves the start with every plan, so that no run is always last.
func rotated(due []Action, launcher string, rotation int) []Action {
	slices.SortStableFunc(due, byDue)
	if len(due) < 2 {
		return due
	}
	const stride = 61 // a prime, so that the starts spread over lists of any length
	start := (int(hash(launcher)) + rotation*stride) % len(due)
	return append(slices.Clone(due[start:]), due[:start]...)
}
