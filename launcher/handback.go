package launcher

import (
	"context"
	"time"

	"github.com/prefect-keda/prefect-keda/admission"
	"github.com/prefect-keda/prefect-keda/backoff"
	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// glanceTimeout bounds a read that is optional.
	glanceTimeout = 5 * time.Second
	// maxHandBack caps claims.HandBackDelay, which doubles while the operator has to act,
	// because each time writes two states.
	maxHandBack = 5 * time.Minute
)

// fail tries once to set the run failed and to tell its author.
func (l *launch) fail(ctx context.Context) error {
	if l.claimed && claims.Age(l.confirmed, time.Now()) > claims.MaxAge {
		l.confirmed = time.Time{}
	}
	if err := l.stillOurs(ctx); err != nil {
		return err
	}
	ctx, cancel := claims.Writing(ctx, l.confirmed)
	defer cancel()
	if err := l.backend.Fail(ctx, l.run, prefect.Failure{Kind: prefect.ByAuthor, Message: l.fault.Message}); err != nil {
		return &claims.Failure{Err: err, Of: prefectAPI, After: prefect.RetryAfter(err)}
	}
	text := l.fault.Message
	if l.made.Job != nil {
		text += "\nThe Job was:\n" + admission.AsYAML(l.made.Job)
	}
	l.lines.add(l.run.ID, prefect.Error, text)
	l.metrics.totals.failed.Add(1)
	return nil
}

// handBack tries once to return the run to the queue. It lists the Jobs before it reads the
// run: whatever an earlier try achieved shows in one or the other.
func (l *launch) handBack(ctx context.Context, why string) error {
	glance, cancel := context.WithTimeout(ctx, glanceTimeout)
	found, err := l.jobs.List(glance, l.run.ID)
	cancel()
	for _, j := range found.Jobs {
		if j.CanTake || j.Attempt == job.AttemptLabel(l.claim.Attempt) {
			_ = l.submitted(adopted, j.Name)
			return &stop{result: adopted}
		}
	}
	if err != nil {
		// If Kubernetes is away, nobody has created a Job.
		l.log.DebugContext(ctx, "handing back without having seen the Jobs", "flow_run", l.run.ID, "err", err)
	}
	l.confirmed = time.Time{} // this write harms a run that has moved on
	if err := l.stillOurs(ctx); err != nil {
		return err
	}
	ctx, cancel = claims.Writing(ctx, l.confirmed)
	defer cancel()
	// A launcher that leaves waits as well: others may be about to create the Job by this
	// claim (claim-protocol §4).
	at := time.Now().Add(backoff.Growing{First: claims.HandBackDelay, Longest: maxHandBack}.After(l.flight.handedBack + 1))
	if err := l.backend.HandBack(ctx, l.run, at, why); err != nil {
		return &claims.Failure{Err: err, Of: prefectAPI, After: prefect.RetryAfter(err)}
	}
	if l.flight.handedBack == 0 { // its author knows; the state says it again
		l.lines.add(l.run.ID, prefect.Warning, why)
	}
	l.metrics.totals.handedBack.Add(1)
	return nil
}

// stillOurs reads a claimed run again if it was confirmed too long ago, with all states
// since its attempt was scheduled: the run may show any of several claims of the attempt,
// and that claim may have come late.
func (l *launch) stillOurs(ctx context.Context) error {
	if !l.claimed {
		return nil // of a Relaunch the Job is the claim, and the run has just been read
	}
	if !l.confirmed.IsZero() && claims.Age(l.confirmed, time.Now()) <= confirmedFor {
		return nil
	}
	h, at, err := l.claims().History(ctx, l.run.ID, l.claim.Attempt)
	if err != nil {
		return err
	}
	l.confirmed = at
	run := h.Run
	switch {
	case l.claims().IsLate(h, l.claim.Attempt):
		return l.claims().Undo(ctx, h, at)
	case run.HasJob:
		// A launcher beside us has created it. It may be gone again.
	case l.claims().IsOurs(run, l.claim.Attempt):
		l.run, l.claim, l.rivals = attempting(run, l.claim.Attempt), *run.Claim, areRivals(h.Claims)
		return nil
	case l.run.JobFirst && run.State.Phase == prefect.Running:
		return nil // the claim is inside the run and does not show in its state
	}
	return &claims.Ended{Why: claims.Overtaken}
}

// attempting is the run at the attempt of its claim. The claim itself may count as a new
// one, and names must not follow that.
func attempting(run prefect.FlowRun, a prefect.Attempt) prefect.FlowRun {
	run.Attempt = a
	return run
}
