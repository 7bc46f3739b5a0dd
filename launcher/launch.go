package launcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prefect-keda/prefect-keda/admission"
	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// launch is one flow run on its way to its Job. Only its goroutine reads and writes it;
// the loop reads its flight.
type launch struct {
	*Launcher
	flight *flight
	// pause reports a failed try and waits for the next.
	pause func(ctx context.Context, failed outcome)

	// kind and run are the action's until a newer read; jobName is the Job that the run has,
	// in the namespace.
	kind               Kind
	run                prefect.FlowRun
	namespace, jobName string
	// claim makes the run ours once claimed is set.
	claim   prefect.Claim
	claimed bool
	// won is when its claim was answered; zero if another launcher claimed.
	won time.Time
	// sole is set if no other claim of the attempt can have been won.
	sole bool
	// hasSlot is set if Prefect must be told of the Job soon.
	hasSlot bool
	// confirmed is the start of the last request that showed the run in the expected
	// state; zero when it must be read again.
	confirmed time.Time
	// rivals is set when claims of the attempt name its Job differently.
	rivals bool
	made   job.Rendering
	suffix int
	// fault is why the run must fail; its author is told once the run is ours.
	fault *prefect.AuthorError
	// result is how the run got its Job: done or adopted.
	result string
	// tries counts from one; failing is the first failure since the run is ours.
	tries   int
	failing time.Time
	// request is the last read or claim of this try.
	request request
}

// request is how long Prefect took to answer, and whether it answered.
type request struct {
	sent, heard time.Time
	answered    bool
}

// begin takes a due run to its Job. From top to bottom this is the order of events.
func (l *launch) begin(ctx context.Context) outcome {
	if err := l.prepare(ctx); err != nil {
		return l.unclaimed(err)
	}
	l.flight.stage.Store(atClaim)
	if err := l.refresh(ctx); err != nil {
		return l.unclaimed(err)
	}
	if l.kind == Relaunch && l.fault == nil {
		// Such a run has no state of its own to claim. Its Job is the lock.
		switch err := l.create(ctx); {
		case errors.As(err, &l.fault): // the claim decides who tells the author
		case err != nil:
			return l.unclaimed(err)
		}
	}
	if l.run.JobFirst {
		// Prefect may give up a Running run without a heartbeat from the claim on.
		if o := l.heartbeat(ctx, l.action()); o.result != done {
			return o
		}
	}
	if err := l.claimRun(ctx); err != nil {
		return l.unclaimed(err)
	}
	l.flight.stage.Store(afterClaim)
	signal(l.freed)
	switch {
	case l.fault != nil:
		return l.finish(ctx)
	case l.kind == Adopt:
		l.metrics.totals.adopted.Add(1)
		l.tell(ctx)
		return l.ended(adopted)
	case l.kind == Relaunch:
		l.tell(ctx)
		return l.ended(done)
	}
	return l.finish(ctx)
}

// prepare renders the Job of an unclaimed run and looks for one that exists.
func (l *launch) prepare(ctx context.Context) error {
	if l.stopping.Load() {
		return &stop{result: left}
	}
	if known := l.jobs.Known(l.run.ID); l.kind != Adopt && known.GoesOn() {
		// Another launcher was here since the plan was made, and the watch has told.
		return &claims.Ended{Why: claims.Overtaken}
	}
	if err := l.render(ctx); err != nil && !errors.As(err, &l.fault) {
		return err
	}
	if l.run.Fresh {
		return nil
	}
	// It was scheduled before, so it may have a Job that the watch has not told of.
	found, err := l.claims().Present(ctx, l.run.ID)
	if err != nil {
		return &claims.Failure{Err: err, Of: kubernetesAPI}
	}
	if len(found.Jobs) > 0 {
		// One that has ended may have ended the run since it was read.
		l.confirmed = time.Time{}
	}
	kind, adopted := dueAction(l.run, found, l.Namespace, l.jobs.NamespaceUID())
	switch kind {
	case 0:
		return &stop{result: later, backoff: claims.NotNow}
	case Adopt:
		l.fault = nil // it has its Job and needs no other
	}
	l.kind, l.namespace, l.jobName = kind, adopted.Namespace, adopted.Name
	if err := l.render(ctx); err != nil && !errors.As(err, &l.fault) {
		return err
	}
	return nil
}

// render makes the Job if it is still missing. An AuthorError is the author's fault.
func (l *launch) render(ctx context.Context) error {
	if l.made.Job != nil || l.fault != nil || l.kind == Adopt {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, claims.CallTimeout)
	defer cancel()
	made, err := l.renderer.Render(ctx, l.run)
	blame := none
	if err == nil {
		err, blame = l.accounts.Permit(ctx, cmp.Or(made.Job.Namespace, l.Namespace), made.AuthorsAccount), kubernetesAPI
	}
	switch _, wrong := errors.AsType[*prefect.AuthorError](err); {
	case wrong:
		return err
	case isTemplate(err):
		return &claims.Failure{Err: err, Of: jobTemplate}
	case l.isAwayForLong(l.run, err):
		return &prefect.AuthorError{Message: fmt.Sprintf("The job template of this run cannot be read for more than %s: %v. See that the launcher can reach it, or give another one, and start the run again", l.RetryFor, err), Err: err}
	case err != nil:
		return &claims.Failure{Err: fmt.Errorf("render the Job of flow run %s: %w", l.run.ID, err), Of: blame, After: admission.RetryAfter(err)}
	}
	if !l.claimed {
		if err := l.jobs.Open(made.Job.Namespace); err != nil {
			return l.barredBy(err, made.Job.Namespace)
		}
		if err := l.tried(ctx, made); err != nil {
			return err
		}
	}
	l.made = made
	return nil
}

// tried tries the Job of an unclaimed run while Kubernetes refuses the neutral one, so
// that no run is claimed only to be handed back. The run may bring what the launcher's
// template lacks, but never a missing permission.
func (l *launch) tried(ctx context.Context, made job.Rendering) error {
	own := made.OwnTemplate
	if !l.trial.Wary(own) {
		return nil
	}
	switch refused, err := l.trial.Neutral(ctx, own); {
	case err == nil && refused == nil:
		return nil
	case err != nil && admission.AddresseeOf(err) == admission.Operator:
		return l.barredBy(err, l.Namespace)
	}
	refused, err := l.trial.Ask(ctx, made.Job)
	switch {
	case err != nil:
		return &claims.Failure{Err: err, After: admission.RetryAfter(err)}
	case refused != nil:
		return &claims.Failure{Err: refused, Of: jobTemplate}
	}
	return nil
}

// isTemplate reports whether the launcher's own template is wrong or away.
func isTemplate(err error) bool {
	_, ok := errors.AsType[*job.TemplateError](err)
	return ok
}

// isAwayForLong reports whether both the server of the run's own template has been away
// and the run has waited for RetryFor. Waiting for ever, such runs would take the place of
// others where a backend hands out only a few.
func (l *Launcher) isAwayForLong(run prefect.FlowRun, err error) bool {
	away, ok := errors.AsType[*job.AwayError](err)
	if !ok {
		return false
	}
	now, waits := time.Now(), run.StateAt
	if due := run.Due; due.After(waits) {
		waits = due
	}
	return claims.Age(away.Since, now) >= l.RetryFor && claims.Age(waits, now) >= l.RetryFor
}

// unclaimed ends the launch of a run that is not ours; the next plan decides anew.
func (l *launch) unclaimed(err error) outcome { return l.with(l.action().after(err)) }

// ended ends the launch.
func (l *launch) ended(result string) outcome {
	return l.with(outcome{Action: l.action(), result: result})
}

func (l *launch) action() Action {
	return Action{Kind: l.kind, Run: l.run, Namespace: l.namespace, Job: l.jobName}
}

// with adds how far the launch has come.
func (l *launch) with(o outcome) outcome {
	o.attempt, o.claimed, o.request = l.claim.Attempt, l.claimed, l.request
	o.rendered = l.made.Job != nil && !l.made.OwnTemplate && l.tries == 1
	return o
}
