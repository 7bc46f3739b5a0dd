package resolve

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// tellPending tells Prefect, best effort, why the pod of a claimed run does not start yet.
// The note on the Job says that the run was told, so it is told once.
func (r *Resolver) tellPending(ctx context.Context, p *patient) {
	if p.run.State.Phase != prefect.Claimed || p.finding.Kind == trouble.Sidecar {
		return
	}
	err := p.inTime(ctx, func(ctx context.Context) error {
		return claims.Bounded(ctx, func(ctx context.Context) error { return r.Backend.Pending(ctx, p.run, p.finding.Message) })
	})
	if err != nil {
		r.Logger.DebugContext(ctx, "Prefect could not be told why the pod does not start", "flow_run", p.run.ID, "job", p.job.Name, "err", err)
	}
}

// stop ends the pods of a Job that goes on, before its run gets a verdict: in some Prefects
// a pod that starts later would begin a run that has failed. If we die in between,
// Kubernetes gives the Job up, and the run gets its verdict for that.
func (r *Resolver) stop(ctx context.Context, p *patient) error {
	if trouble.Finished(p.job) {
		return nil
	}
	err := claims.Bounded(ctx, func(ctx context.Context) error { return r.Jobs.Release(ctx, p.job, p.note, jobs.Ending{Stop: true}) })
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // it is gone, or another one by now
		return nil
	}
	return err
}

// judge gives the run its verdict: it has failed, or has been cancelled if somebody asked
// for that before.
func (r *Resolver) judge(ctx context.Context, p *patient) (What, error) {
	if p.run.State.Phase == prefect.Cancelling {
		return Removed, p.inTime(ctx, func(ctx context.Context) error { return r.Backend.Cancelled(ctx, p.run, p.reason) })
	}
	why := prefect.Failure{Kind: prefect.ByInfrastructure, Message: p.reason}
	err := p.inTime(ctx, func(ctx context.Context) error { return r.Backend.Fail(ctx, p.run, why) })
	if err == nil {
		r.Count(Failed)
	}
	return Failed, err
}

// inTime writes the run's state unless the read is too old: the server would also change
// a run that has finished or begun again since (prefect1-server §c).
func (p *patient) inTime(ctx context.Context, write func(context.Context) error) error {
	ctx, cancel := claims.Writing(ctx, p.confirmed)
	defer cancel()
	return write(ctx)
}

// cancelNow stops the Job of a flow that does not react, or that never began, and sets the
// run Cancelled.
func (r *Resolver) cancelNow(ctx context.Context, p *patient) Result {
	return r.end(ctx, p, func() {
		r.Line(infraLogger, p.run.ID, prefect.Warning, p.reason)
		r.Troubles.WithLabelValues(string(p.finding.Kind)).Inc()
	})
}

// end stops the Job, then gives the run its verdict, and removes the Job. told follows the
// verdict.
func (r *Resolver) end(ctx context.Context, p *patient, told func()) Result {
	p.reason = p.finding.Message
	if err := r.stop(ctx, p); err != nil {
		return r.leftForLater(ctx, p, err, jobs.Ending{})
	}
	what, err := r.judge(ctx, p)
	if err != nil {
		return r.refusedByPrefect(ctx, p, err)
	}
	told()
	return r.dispose(ctx, p, what)
}

// stillUnfinished reads the run again before we fail it: collecting the story took time,
// and a run that has finished meanwhile must stay finished. able means that the Job may yet
// take the run, so that even a claim over a restart stands.
func (r *Resolver) stillUnfinished(ctx context.Context, p *patient, able bool) error {
	isClaim := p.run.State.Phase == prefect.Claimed && p.run.Claim != nil // and may have come late
	if !isClaim && claims.Age(p.confirmed, time.Now()) <= claims.MaxAge {
		return nil
	}
	attempt := prefect.Attempt("")
	if isClaim {
		attempt = p.run.Claim.Attempt
	}
	h, at, err := r.Claims.History(ctx, p.run.ID, attempt)
	if err != nil {
		return err
	}
	if r.Claims.IsLate(h, attempt) && (h.Reached.Phase.IsFinished() || h.Reached.Phase.IsWaiting() && !able) {
		return r.Claims.Undo(ctx, h, at)
	}
	before := p.run.Revision
	p.run, p.confirmed = h.Run, at
	if h.Run.Revision != before || h.Run.State.Phase.IsFinished() {
		return &claims.Ended{Why: claims.Overtaken}
	}
	return nil
}
