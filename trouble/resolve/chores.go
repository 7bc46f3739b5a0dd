package resolve

import (
	"context"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// limit gives a completed Job the time to live of a new one, counted from its end.
// Kubernetes then removes it, but not before a late launcher has met its name. While
// the run is Running the Job stays, to be judged with the run.
func (r *Resolver) limit(ctx context.Context, p *patient) Result {
	if p.run.State.Phase.IsRunning() {
		return p.over(Ignored, r.NotOurs)
	}
	var j *batchv1.Job
	err := claims.Bounded(ctx, func(ctx context.Context) (err error) {
		j, err = r.Jobs.Get(ctx, p.namespace, p.jobName)
		return err
	})
	if err == nil {
		if f, found := trouble.Chore(j, nil, r.Rules); !found || f.Kind != trouble.Lasting {
			return p.over(Overtaken, judgeAgain)
		}
		seconds := max(int32(r.JobTTL/time.Second), job.MinTTLSeconds)
		err = claims.Bounded(ctx, func(ctx context.Context) error { return r.Jobs.Limit(ctx, j, seconds) })
	}
	switch {
	case err == nil:
		return p.over(Removed, judgeAgain)
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return p.over(Overtaken, judgeAgain)
	}
	// Nobody waits for this, so it must not keep the launcher up.
	return p.broke(err, "", r.NotOurs)
}

// tellWhatFollowed tells a run that has got over its trouble the events since then.
func (r *Resolver) tellWhatFollowed(ctx context.Context, p *patient) Result {
	lines, after := r.story(ctx, p)
	if err := r.tell(ctx, lines); err != nil {
		return r.refusedByPrefect(ctx, p, err)
	}
	p.note = after
	p.note.By, p.note.Until, p.note.Tries, p.note.Told = "", time.Time{}, 0, ""
	return r.released(ctx, p, Told, jobs.Ending{})
}
