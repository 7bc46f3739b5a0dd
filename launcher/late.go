package launcher

import (
	"context"
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// The server may apply several claims of one attempt, and any of them late: its lock
// lasts 30 s in one process, and what it was sent it applies however long that takes
// (prefect1-server-facts a, c). Names keep a second Job from being made of that, as
// long as they are the same; and a run that was brought back by a claim after its
// end is put back where it was.

const (
	// reviewAgain is when a claim is reviewed again whose Job has ended.
	reviewAgain = time.Minute
	// rivalsSettle is when all who may create a Job by a claim of theirs that they knew of
	// no rival of have done so or never will: they have until createWithin after having
	// asked. The rest is for clocks that differ.
	rivalsSettle = 2 * createWithin
)

// name gives the Job the name that was claimed, which is the lock: the template may
// have been given another name since, or be another launcher's. Whoever claimed may
// be creating it just now. A retry's Job is named as the run's last one was, and one
// in place of a Job that was adopted as that was, because nobody has claimed a name
// for it.
//
// Where claims name the Job differently, each launcher may have seen its own alone and
// have begun. So nobody else begins until they are done or have ended; then the Job
// is there, or the claim that the run shows, which is none but one, decides.
func (l *Launcher) name(e *errand) (outcome, bool) {
	now := time.Now()
	if wait := e.Run.StateAt.Add(rivalsSettle).Sub(now); e.rivals && wait > 0 {
		return outcome{errand: e, result: later, hold: now.Add(min(wait, rivalsSettle))}, false
	}
	claim := e.claim
	if !e.claimed && e.Run.LastClaim != nil {
		claim = *e.Run.LastClaim
	}
	if prefix := job.PrefixOf(claim.Job); prefix != "" {
		e.job.Name, _ = job.Name(prefix, e.Run.ID, e.Run.Attempt(), e.suffix)
	}
	return outcome{}, true
}

// areRivals: the claims name the Job differently.
func areRivals(claims []prefect.Claim) bool {
	return slices.ContainsFunc(claims, func(c prefect.Claim) bool { return job.PrefixOf(c.Job) != job.PrefixOf(claims[0].Job) })
}

// review asks whether a claim whose Job has ended came late.
func (l *Launcher) review(ctx context.Context, e *errand) outcome {
	e.claim = *e.Run.Claim
	switch found, err := l.present(ctx, e.Run.ID); {
	case err != nil:
		return outcome{errand: e, result: broken, err: err, hold: time.Now().Add(reviewAgain)}
	case found.goesOn():
		return outcome{errand: e, result: later, hold: time.Now().Add(reviewAgain)}
	}
	o := l.undoIfLate(ctx, e)
	if o.result != restored {
		o.hold = time.Now().Add(reviewAgain)
	}
	return o
}

// present is what Kubernetes says now that there is of a run.
func (l *Launcher) present(ctx context.Context, run string) (found Presence, err error) {
	err = l.bounded(ctx, func(ctx context.Context) (err error) {
		found, err = l.jobs.list(ctx, run)
		return err
	})
	return found, err
}

// undoIfLate is for a claim whose Job has ended; it is ignored where it did not come
// late.
func (l *Launcher) undoIfLate(ctx context.Context, e *errand) outcome {
	h, o, ok := l.history(ctx, e)
	switch {
	case !ok:
		return o
	case l.isClaim(h.Run, e.claim.Attempt) && h.IsLate():
		return l.restore(ctx, e, h)
	}
	return outcome{errand: e, result: ignored}
}

// restore undoes a claim that came late, right after it was read.
func (l *Launcher) restore(ctx context.Context, e *errand, h prefect.History) outcome {
	to, since := h.Reached, "the run had got to "+string(h.Reached.Type)+" with another"
	if to.Type.IsScheduled() {
		if o, ok := l.mayRestart(ctx, e, h.Run); !ok {
			return o
		}
		since = "the run had been " + string(to.Type) + " again"
		// By then whoever read the same has put it back as well, or never will: a second
		// time, that would overwrite the claim of who launches it.
		if soon := e.confirmed.Add(handBackDelay); soon.After(to.StartTime) && !to.WaitsForAPerson() {
			to.StartTime = soon
		}
	}
	call, cancel := e.setting(ctx)
	defer cancel()
	if err := l.backend.Restore(call, h.Run, to); err != nil {
		return outcome{errand: e, result: broken, err: err, blame: prefectAPI, hold: time.Now().Add(notNow)}
	}
	l.lines.add(e.Run.ID, prefect.Warning, "Prefect applied a claim of launcher "+h.Run.Claim.Launcher+" only after "+since+"; that state was put back")
	return outcome{errand: e, result: restored}
}

// mayRestart: nobody creates a Job by a claim from before the read any more, and
// there is none that may take the run. Else the claim, though it came late, is as
// good as a new one.
func (l *Launcher) mayRestart(ctx context.Context, e *errand, run prefect.FlowRun) (outcome, bool) {
	now := time.Now()
	if wait := run.StateAt.Add(rivalsSettle).Sub(now); wait > 0 {
		return outcome{errand: e, result: later, hold: now.Add(min(wait, rivalsSettle))}, false
	}
	switch found, err := l.present(ctx, e.Run.ID); {
	case err != nil:
		return outcome{errand: e, result: broken, err: err, blame: kubernetesAPI, hold: time.Now().Add(notNow)}, false
	case found.goesOn():
		return outcome{errand: e, result: later, hold: time.Now().Add(reviewAgain)}, false
	}
	return outcome{}, true
}
