package launcher

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// Kind is what is to be done about a run.
type Kind int

// The kinds of actions, each a row of NewPlan's table.
const (
	// Launch: claim the run, then create its Job.
	Launch Kind = iota + 1
	// Relaunch: of a Running run whose task retry is due, create the Job, then
	// claim the tasks. Such a run has no state of its own to claim, so the Job
	// must come first.
	Relaunch
	// Adopt: claim the run with the Job it has; create none.
	Adopt
	// Repair: create the Job of a claim that has none.
	Repair
	// Resolve: see to a Job in trouble, or to a run whose Job is gone.
	Resolve
	// Review: of a claim whose Job has ended, ask whether it came late and brought
	// back a run that had ended, or overwrote its restart; and if so, undo that.
	Review
	// Heartbeat: tell Prefect that a claimed run's Job waits for its pod.
	Heartbeat
)

// String is the kind as logs and metrics spell it.
func (k Kind) String() string {
	switch k {
	case Launch:
		return "launch"
	case Relaunch:
		return "relaunch"
	case Adopt:
		return "adopt"
	case Repair:
		return "repair"
	case Resolve:
		return "resolve"
	case Review:
		return "review"
	case Heartbeat:
		return "heartbeat"
	default:
		return "none"
	}
}

// Action is one element of a plan.
type Action struct {
	Kind Kind
	Run  prefect.FlowRun
	// Job is the Job to adopt, or the one in trouble.
	Job string
	// Finding is what is wrong with it; of Run then only the ID is known.
	Finding trouble.Finding
}

// Job is what planning needs of a Kubernetes Job.
type Job struct {
	Name string
	// Attempt as its label spells it.
	Attempt string
	// CanTake: it has not ended, and a pod of it may yet take the run. A Job may last
	// longer than that, by seconds or, with a sidecar that does not end, for ever.
	CanTake bool
	// Leaving: deleted, but its pods may still run.
	Leaving bool
}

// Presence is what there is of a run in the cluster.
type Presence struct {
	Jobs []Job
	// Alive: one of its pods executes it, or may yet, whatever became of the Job.
	Alive bool
}

// goesOn: something of it executes the run, or may yet take it.
func (p Presence) goesOn() bool {
	return p.Alive || slices.ContainsFunc(p.Jobs, func(j Job) bool { return j.CanTake })
}

// World is all that a plan depends on.
type World struct {
	Now time.Time
	// NamespaceUID is where our Jobs are; other claims are another cluster's.
	NamespaceUID string
	// Due and Claimed are what the backend answered.
	Due     []prefect.FlowRun
	Claimed []prefect.FlowRun
	// Present by flow run.
	Present map[string]Presence
	// Troubled are the Jobs in trouble, and SupervisedRead when Prefect was asked
	// for what Kubernetes does not know of them.
	Troubled       []Troubled
	SupervisedRead time.Time
	// Busy are the runs being acted on.
	Busy map[string]bool
	// Settled is when we last finished an action on a run. A read begun before
	// that does not know what we did.
	Settled map[string]time.Time
	// NotBefore is when a run, a Job in trouble, or a claim whose Job has ended may be
	// looked at again (holdKey).
	NotBefore map[string]time.Time
	// Beats is when a run last got a heartbeat from us, by our own clock.
	Beats map[string]time.Time
	// Turn counts plans.
	Turn int
}

// Plan is what follows from a World.
type Plan struct {
	// Actions to take now, in this order.
	Actions []Action
	// Ahead are actions whose run falls due later, in due order.
	Ahead []Action
}

// beatInterval: Prefect reschedules a run whose heartbeat is 10 minutes old
// (prefect1-server-facts f), so one may be lost. The scaler wakes a launcher when
// there has been none for longer.
const beatInterval = 3 * time.Minute

// reviewFor is how long after a claim was written it is reviewed. By then Prefect
// reschedules a run that gives no sign of life.
const reviewFor = 10 * time.Minute

// NewPlan decides. It is a pure function:
//
//	due run, Scheduled family  | a Job, of any attempt, that can take it    | Adopt
//	                           | a Job that is being deleted                | nothing yet
//	                           | no such Job, a pod that lives              | nothing yet
//	                           | else                                       | Launch
//	due run, Running           | last submitted from elsewhere              | nothing: its Job is there, and who sees to it
//	                           | a Job of this attempt                      | Adopt
//	                           | another Job that can take it               | nothing: its pod takes the retry itself
//	                           | a Job that is being deleted                | nothing yet
//	                           | no such Job, a pod that lives              | nothing yet
//	                           | else                                       | Relaunch
//	run ahead                  |                                            | the same, later
//	run claimed from here      | a Job, of any attempt, that can take it    | Heartbeat, 3 minutes after the last, whoever sent it
//	                           | no such Job, a pod that lives              | nothing yet
//	                           | a Job of the claim's attempt               | Review; else nothing: its pod ended without the run
//	                           | neither, claim older than grace or our own | Repair
//	                           | neither, younger claim                     | nothing: its launcher is at it
//	run claimed from elsewhere |                                            | nothing: another namespace or cluster
//	Job in trouble, or chore   | whose time has come                        | Resolve
//
// Runs in hand, runs we have finished with since they were read and runs on hold
// are left alone. Of claims one is reviewed at a time, and only for some minutes
// after it was made: then Prefect itself reschedules the run.
func NewPlan(o Options, w World) Plan {
	var p Plan
	// A run that changed between the two reads is in both; the later read counts.
	dueRead, claimedRead := reads(w.Due), reads(w.Claimed)
	for _, run := range w.Claimed {
		if due, isDue := dueRead[run.ID]; w.skips(run) || isDue && !due.Before(run.ReadAt) {
			continue
		}
		if a := (Action{Kind: claimedAction(o, w, run), Run: run}); a.Kind != 0 && !w.holds(a) {
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
		if w.skips(run) || run.ReadAt.Before(claimedRead[run.ID]) || !prefect.LabelsMatch(o.Labels, run.Labels) || !run.Claimable(run.Due()) {
			continue
		}
		kind, adopted := dueAction(run, w.Present[run.ID], o.Namespace, w.NamespaceUID)
		if kind == 0 {
			continue
		}
		a := Action{Kind: kind, Run: run, Job: adopted}
		if w.holds(a) {
			continue
		}
		if run.Due().After(w.Now) {
			p.Ahead = append(p.Ahead, a)
		} else {
			due = append(due, a)
		}
	}
	// What has been claimed and lacks its Job comes first, chores, reviews and signs
	// of life last.
	urgent, chores := troubledActions(o, w)
	p.Actions = slices.Insert(p.Actions, reviews, slices.Concat(rotated(urgent, o.Name, w.Turn), rotated(due, o.Name, w.Turn), rotated(chores, o.Name, w.Turn))...)
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

func (w World) holds(a Action) bool { return w.NotBefore[a.holdKey()].After(w.Now) }

func dueAction(run prefect.FlowRun, found Presence, namespace, uid string) (kind Kind, adopted string) {
	if !run.RetriesIn(namespace, uid) {
		return 0, ""
	}
	attempt := job.AttemptLabel(run.Attempt())
	var able, own string
	for _, j := range found.Jobs {
		switch {
		case j.Leaving:
			// Its pods may run until it is gone; a second Job now would run beside them.
			return 0, ""
		case j.Attempt == attempt:
			own = j.Name
		}
		if j.CanTake {
			able = j.Name
		}
	}
	isRunning := !run.State.Type.IsScheduled()
	switch {
	case isRunning && own != "":
		return Adopt, own
	case isRunning && able != "":
		return 0, ""
	case able != "":
		return Adopt, able
	case found.Alive:
		// Its Job was deleted, or has ended, and left it behind.
		return 0, ""
	case isRunning:
		return Relaunch, ""
	}
	return Launch, ""
}

func claimedAction(o Options, w World, run prefect.FlowRun) Kind {
	if run.Claim == nil || !run.Claim.IsIn(o.Namespace, w.NamespaceUID) || !prefect.LabelsMatch(o.Labels, run.Labels) {
		return 0
	}
	attempt := job.AttemptLabel(run.Claim.Attempt)
	found := w.Present[run.ID]
	switch {
	case slices.ContainsFunc(found.Jobs, func(j Job) bool { return j.CanTake }):
		last := slices.MaxFunc([]time.Time{run.StateAt, run.Heartbeat, w.Beats[run.ID]}, time.Time.Compare)
		if w.Now.Sub(last) >= beatInterval {
			return Heartbeat
		}
	case found.Alive:
		// Its Job was deleted and left it behind; a second pod would run beside it.
	case slices.ContainsFunc(found.Jobs, func(j Job) bool { return j.Attempt == attempt }):
		// Its pod never set the run Running, and Prefect reschedules the run, which makes a
		// new attempt; or it has set the run up to its end, and the claim came late. A Job
		// of an earlier attempt that the claim adopted is another matter: it ended for
		// that attempt.
		if age := w.Now.Sub(run.StateAt); age >= o.ClaimGrace && age < reviewFor {
			return Review
		}
	case run.Claim.Launcher == o.Name, w.Now.Sub(run.StateAt) >= o.ClaimGrace:
		// A claim of our own that we do not have in hand is from before a restart.
		return Repair
	}
	return 0
}

// troubledActions: a case is taken by a note on its Job. Where no Job is left,
// launchers come one after another instead, and find that the first was there.
func troubledActions(o Options, w World) (urgent, chores []Action) {
	for _, t := range w.Troubled {
		from := t.From
		if t.Kind == trouble.JobGone {
			from = w.SupervisedRead.Add(time.Duration(hash(o.Name+"/"+t.Run)%10) * time.Second)
		}
		a := Action{Kind: Resolve, Run: prefect.FlowRun{ID: t.Run}, Job: t.Job, Finding: t.Finding}
		switch {
		case from.After(w.Now), w.Busy[t.Run], w.holds(a), t.Kind == trouble.Lasting && !o.DeleteFinished:
		case t.Kind.IsChore():
			chores = append(chores, a)
		default:
			urgent = append(urgent, a)
		}
	}
	return urgent, chores
}

// holdKey is what NotBefore knows the subject of an action by. A run's old Job is
// not to hold up the run, nor a claim that got no clear answer, once it turns out to
// have been applied, what it was for.
func (a Action) holdKey() string {
	switch {
	case a.Kind == Resolve:
		return "job " + a.Job
	case !a.isDue():
		return "claim " + a.Run.ID
	}
	return a.Run.ID
}

// returnKey is what holds know by how often the action's run was handed back.
func (a Action) returnKey() string { return "return " + a.Run.ID }

func hash(text string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(text))
	return h.Sum32()
}

func byDue(a, b Action) int {
	return cmp.Or(a.Run.Due().Compare(b.Run.Due()), cmp.Compare(a.Run.ID, b.Run.ID), cmp.Compare(a.Job, b.Job))
}

// rotated starts each launcher at another place of the due order, so that
// several of them rarely meet, and moves the start with every plan, so that no
// run is always last.
func rotated(due []Action, launcher string, turn int) []Action {
	slices.SortStableFunc(due, byDue)
	if len(due) < 2 {
		return due
	}
	const stride = 61 // a prime, so that the starts spread over lists of any length
	start := (int(hash(launcher)) + turn*stride) % len(due)
	return append(slices.Clone(due[start:]), due[:start]...)
}
