package launcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// maxBatches of a run that is claimed part by part; its pod takes up the rest.
const maxBatches = 100

// refresh reads the run again if it was read too long ago, or if its claim needs more than
// the poll brought, and makes sure that it has not moved on.
func (l *launch) refresh(ctx context.Context) error {
	if !l.run.JobFirst && claims.Age(l.confirmed, time.Now()) <= claims.MaxAgeOf(l.run) {
		return nil
	}
	run, at, err := l.claims().Read(ctx, l.run.ID)
	l.request = request{sent: at, heard: time.Now(), answered: err == nil}
	switch {
	case err != nil:
		return err
	case !run.Claimable(time.Now()) || run.Attempt != l.run.Attempt || !run.RetriesIn(l.Namespace, l.jobs.NamespaceUID()):
		return &claims.Ended{Why: claims.Overtaken}
	}
	l.run, l.confirmed = run, at
	return nil
}

// claimRun claims the run, with the Job to adopt or to create.
func (l *launch) claimRun(ctx context.Context) error {
	l.claim = prefect.Claim{Launcher: l.Name, Namespace: l.namespace, Attempt: l.run.Attempt, Job: l.jobName}
	if l.claim.Job == "" && l.made.Job != nil {
		l.claim.Namespace, l.claim.Job = l.made.Job.Namespace, l.made.Job.Name
	}
	l.claim.Namespace = cmp.Or(l.claim.Namespace, l.Namespace)
	if l.claim.NamespaceUID = l.jobs.Further()[l.claim.Namespace]; l.claim.Namespace == l.Namespace {
		l.claim.NamespaceUID = l.jobs.NamespaceUID()
	}
	err := l.sendClaim(ctx)
	if wrong, isAuthors := errors.AsType[*prefect.AuthorError](err); isAuthors {
		err = l.claimToFail(ctx, wrong)
	}
	if err != nil {
		return err
	}
	if l.fault == nil && l.run.JobFirst {
		l.claimRest(ctx)
	}
	if claims.Age(l.confirmed, time.Now()) > claims.SendWithin || l.fault == nil && l.made.NameVaries && !l.sole {
		// Meanwhile the run may have ended with another claim, or claims may name the Job
		// differently: the history tells.
		l.confirmed = time.Time{}
	}
	return nil
}

// claimToFail claims a run without the state that made its claim too large, so that one
// launcher tells its author. A run that needs its Job first fails unclaimed.
func (l *launch) claimToFail(ctx context.Context, wrong *prefect.AuthorError) error {
	if slices.ContainsFunc(l.jobs.Known(l.run.ID).Jobs, func(j jobs.Job) bool { return j.CanTake }) {
		return &stop{result: later, backoff: claims.HandBackDelay}
	}
	l.fault = wrong
	if l.run.JobFirst {
		return nil
	}
	l.run.State.Opaque = nil
	return l.sendClaim(ctx)
}

// claimRest claims the parts of the run that one request left, batch by batch, each after
// a read of its own. When a batch is not won, the rest is due at the next poll, unless the
// pod has taken it.
func (l *launch) claimRest(ctx context.Context) {
	for range maxBatches {
		if l.stopping.Load() {
			return
		}
		run, at, err := l.claims().Read(ctx, l.run.ID)
		if err != nil || !run.JobFirst || !run.Claimable(time.Now()) {
			return
		}
		rest := *l
		rest.run, rest.confirmed, rest.claim.Attempt = run, at, run.Attempt
		if rest.sendClaim(ctx) != nil {
			return
		}
	}
}

// sendClaim sends the claim and, if the answer is unclear, reads the run back. It returns
// an AuthorError when the run is too large to be claimed as it is.
func (l *launch) sendClaim(ctx context.Context) error {
	began := time.Now()
	if claims.Age(l.confirmed, began) > claims.SendWithin {
		return &stop{result: overtaken, err: fmt.Errorf("the run was read more than %s ago, too long to claim it; looking again", claims.SendWithin)}
	}
	call, cancel := claims.Writing(ctx, l.confirmed)
	defer cancel()
	call, end := l.flight.await(call, l.claim)
	r, err := l.backend.Claim(call, l.run, l.claim)
	if wasShown(call) {
		r, err = prefect.ClaimResult{Answer: prefect.Won, Reason: errShown.Error()}, nil
	}
	end()
	l.request = request{sent: began, heard: time.Now(), answered: err == nil && r.Answer != prefect.Unknown}
	switch _, wrong := errors.AsType[*prefect.AuthorError](err); {
	case wrong && l.fault == nil:
		return err
	case err != nil:
		return &stop{result: broken, backoff: claims.HandBackDelay, err: err, blame: prefectAPI}
	}
	l.metrics.claims.WithLabelValues(r.Answer.String()).Inc()
	switch {
	case r.Answer != prefect.Unknown:
	case r.RetryAfter > 0:
		r.Answer = prefect.NotNow // no read now: Prefect asked for quiet; the next poll of the claims tells
	default:
		r.Answer = l.readBack(ctx)
	}
	about := []any{"flow_run", l.run.ID, "attempt", l.claim.Attempt, "answer", r.Answer.String(), "reason", r.Reason}
	switch r.Answer {
	case prefect.Won:
		l.log.DebugContext(ctx, "claimed", append(about, "job", l.claim.Job)...)
		l.claimed, l.sole, l.hasSlot, l.confirmed = true, r.Sole, r.HasSlot, began
		l.won = time.Now()
		return nil
	case prefect.Lost:
		l.log.DebugContext(ctx, "not claimed", about...)
		return &stop{result: lost}
	}
	l.log.DebugContext(ctx, "not claimed", about...)
	return &stop{result: later, backoff: max(claims.NotNow, r.RetryAfter), quiet: r.RetryAfter}
}

// readBack finds out whether a claim with a lost answer was applied.
func (l *launch) readBack(ctx context.Context) prefect.Answer {
	ctx, cancel := context.WithTimeout(ctx, claims.CallTimeout)
	defer cancel()
	run, err := l.backend.FlowRun(ctx, l.run.ID)
	switch {
	case errors.Is(err, prefect.ErrNotFound):
		return prefect.Lost
	case err != nil:
		return prefect.NotNow // the next poll of the claims tells
	case run.Claim != nil && *run.Claim == l.claim:
		return prefect.Won
	case l.run.JobFirst && run.State.Phase.IsRunning() && run.Attempt != l.claim.Attempt:
		return prefect.Won // its parts are not due any more
	case run.Attempt == l.claim.Attempt && run.State.Phase == l.run.State.Phase:
		return prefect.NotNow // not applied, or not yet
	}
	return prefect.Lost
}

// awaited is a claim without an answer yet. When a poll of the claims shows it, the answer
// is not needed any more.
type awaited struct {
	claim prefect.Claim
	shown context.CancelCauseFunc
}

var errShown = errors.New("the claim shows among the claims")

// await lets a poll of the claims end the request of this claim.
func (f *flight) await(ctx context.Context, c prefect.Claim) (context.Context, context.CancelFunc) {
	ctx, shown := context.WithCancelCause(ctx)
	f.awaited.Store(&awaited{c, shown})
	return ctx, func() {
		f.awaited.Store(nil)
		shown(nil)
	}
}

// show tells a waiting request that its claim is among the claims.
func (f *flight) show(run prefect.FlowRun) {
	if a := f.awaited.Load(); a != nil && run.Claim != nil && *run.Claim == a.claim {
		a.shown(errShown)
	}
}

func wasShown(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errShown) }
