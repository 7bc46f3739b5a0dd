package launcher

import (
	"context"
	"time"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble/resolve"
)

// carryOut does what was planned. It is safe to die anywhere in it, and to be stopped
// anywhere in it for any time.
func (l *Launcher) carryOut(ctx context.Context, f *flight, pause func(context.Context, outcome)) outcome {
	switch f.Kind {
	case Heartbeat:
		return l.heartbeat(ctx, f.Action)
	case Resolve:
		return l.resolve(ctx, f.Action)
	case Review:
		return l.review(ctx, f.Action)
	}
	run := &launch{Launcher: l, flight: f, pause: pause, kind: f.Kind, run: f.Run, namespace: f.Namespace, jobName: f.Job, confirmed: f.Run.ReadAt, tries: 1}
	if f.Kind == Repair {
		// Somebody claimed it, which makes finishing it anybody's business. Whether the
		// claim still stands is read first: nothing is confirmed.
		run.claim, run.claimed, run.confirmed = *f.Run.Claim, true, time.Time{}
		return run.finish(ctx)
	}
	return run.begin(ctx)
}

// heartbeatRetry is when a heartbeat that failed is sent again.
const heartbeatRetry = 30 * time.Second

// heartbeat says that the run is looked after while its pod waits.
func (l *Launcher) heartbeat(ctx context.Context, a Action) outcome {
	o := outcome{Action: a, result: done}
	err := claims.Bounded(ctx, func(ctx context.Context) (err error) {
		o.Run.KeepBy, err = l.backend.Keep(ctx, a.Run)
		return err
	})
	if err != nil {
		// Soon: it may be the only one before Prefect loses patience.
		o.result, o.err, o.blame, o.backoff = broken, err, prefectAPI, time.Now().Add(heartbeatRetry)
	}
	return o
}

// review asks whether a claim whose Job has ended came late.
func (l *Launcher) review(ctx context.Context, a Action) outcome {
	c, o := l.claims(), outcome{Action: a, result: later}
	switch found, err := c.Present(ctx, a.Run.ID); {
	case err != nil:
		o.result, o.err = broken, err
	case !found.GoesOn():
		o.result = ignored
		if err := c.UndoIfLate(ctx, a.Run.ID, a.Run.Claim.Attempt); err != nil {
			o = a.after(err)
		}
	}
	o.attempt = a.Run.Claim.Attempt
	if o.result != restored {
		o.backoff = time.Now().Add(claims.ReviewAgain)
	}
	return o
}

// resolve handles a Job in trouble, or a run whose Job is gone.
func (l *Launcher) resolve(ctx context.Context, a Action) outcome {
	r := l.resolver().Resolve(ctx, resolve.Case{FlowRun: a.Run.ID, Namespace: a.Namespace, Job: a.Job, Finding: a.Finding})
	a.Run, a.Finding = r.Run, r.Finding
	o := outcome{Action: a, result: string(r.What), reason: r.Reason, err: r.Err, blame: r.Of, orphan: r.Orphan}
	if r.What == "" {
		o = a.after(r.Err)
	}
	if r.Backoff > 0 {
		o.backoff = time.Now().Add(r.Backoff)
	}
	return o
}

func (l *Launcher) resolver() *resolve.Resolver {
	return &resolve.Resolver{
		Options: resolve.Options{
			Name: l.Name, Scope: l.Scope, Rules: l.Rules, DeleteFinished: l.DeleteFinished, KeepFailed: l.KeepFailed,
			JobTTL: l.JobTTL, LogLines: l.LogLines, NotOurs: max(10*time.Minute, 2*l.IdleTimeout),
		},
		Backend: l.backend, Jobs: l.jobs, Claims: l.claims(), Logger: l.log, Line: l.lines.addAs,
		Count:    l.metrics.totals.count,
		Troubles: l.metrics.troubles, LinesDropped: l.metrics.linesDropped,
	}
}

// claims reads runs and undoes claims that came late.
func (l *Launcher) claims() claims.Claims {
	return claims.Claims{
		Backend: l.backend, Cluster: l.jobs, Namespace: l.Namespace,
		Tell: func(run, message string) { l.lines.add(run, prefect.Warning, message) },
	}
}
