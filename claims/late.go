package claims

import (
	"context"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// The server may apply several claims of one attempt, and each of them late: its lock
// lasts 30 s in one process, and it applies every claim, however long that takes
// (prefect1-server §a, §c). Equal names keep that from making a second Job. If a late
// claim revived a run, we restore the state from before.

const (
	// RivalsSettle is the time after which no rival creates a Job any more without
	// knowing of the other claims: each had CreateWithin after reading them. The rest is
	// for clocks that differ.
	RivalsSettle = 2 * CreateWithin
	// ReviewAgain is when to ask again whether a claim came late.
	ReviewAgain = time.Minute
)

// UndoIfLate undoes the claim if it came late, and returns nil if it did not.
func (c Claims) UndoIfLate(ctx context.Context, run string, attempt prefect.Attempt) error {
	h, at, err := c.History(ctx, run, attempt)
	if err == nil && c.IsLate(h, attempt) {
		err = c.Undo(ctx, h, at)
	}
	return err
}

// IsLate reports whether the run's present claim is ours, for that attempt, and late.
func (c Claims) IsLate(h prefect.History, attempt prefect.Attempt) bool {
	return c.IsOurs(h.Run, attempt) && h.IsLate()
}

// Undo restores the state that a late claim has overwritten, right after the read. It tries
// once, because other launchers meet the claim as well, and always returns an *Ended.
func (c Claims) Undo(ctx context.Context, h prefect.History, read time.Time) error {
	if h.Reached.Phase.IsRunning() {
		var err error
		if h, read, err = c.withoutJob(ctx, h); err != nil {
			return err
		}
	}
	to, since := h.Reached, "the run had got to "+h.Reached.Name+" with another"
	if to.Phase.IsWaiting() {
		if err := c.mayRestart(ctx, h.Run); err != nil {
			return err
		}
		since = "the run had been " + to.Name + " again"
		// Others who read the same may restore it too, but only until then: later they would
		// overwrite the claim that launches the run.
		if soon := read.Add(HandBackDelay); soon.After(to.StartTime) && to.Phase != prefect.Held {
			to.StartTime = soon
		}
	}
	ctx, cancel := Writing(ctx, read)
	defer cancel()
	if err := c.Backend.Restore(ctx, h.Run, to); err != nil {
		return &Ended{Why: Broken, For: NotNow, Err: err, Of: Prefect}
	}
	c.Tell(h.Run.ID, "Prefect applied a claim of launcher "+h.Run.Claim.Launcher+" only after "+since+"; that state was put back")
	return &Ended{Why: Undone}
}

// withoutJob reads a run again that a late claim came over while it was Running, once
// nothing of it goes on. A pod that lives ends the run by itself, and one may have ended it
// since the last read.
func (c Claims) withoutJob(ctx context.Context, h prefect.History) (again prefect.History, read time.Time, err error) {
	switch found, err := c.Present(ctx, h.Run.ID); {
	case err != nil:
		return h, read, &Ended{Why: Broken, For: NotNow, Err: err, Of: Kubernetes}
	case found.GoesOn():
		return h, read, &Ended{Why: TooEarly, For: ReviewAgain}
	}
	attempt := h.Run.Claim.Attempt
	if again, read, err = c.History(ctx, h.Run.ID, attempt); err == nil && !c.IsLate(again, attempt) {
		err = &Ended{Why: Overtaken}
	}
	return again, read, err
}

// mayRestart returns nil if nobody creates a Job for an older claim any more and no Job
// can take the run. Otherwise the late claim is as good as a new one.
func (c Claims) mayRestart(ctx context.Context, run prefect.FlowRun) error {
	if wait := time.Until(run.StateAt.Add(RivalsSettle)); wait > 0 {
		return &Ended{Why: TooEarly, For: min(wait, RivalsSettle)}
	}
	switch found, err := c.Present(ctx, run.ID); {
	case err != nil:
		return &Ended{Why: Broken, For: NotNow, Err: err, Of: Kubernetes}
	case found.GoesOn():
		return &Ended{Why: TooEarly, For: ReviewAgain}
	}
	return nil
}
