package launcher

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// limit gives a Job that has completed the time to live it would have been
// created with, counted from its end: Kubernetes removes it, and not before any
// late launcher has met its name. One whose run is still Running is left to be
// judged with it.
func (l *Launcher) limit(ctx context.Context, e *errand) outcome {
	if e.Run.State.Type.IsRunning() {
		return outcome{errand: e, result: ignored, hold: time.Now().Add(l.notOursFor())}
	}
	j, err := l.get(ctx, e.Job)
	if err == nil {
		if f, found := trouble.Chore(j, nil); !found || f.Kind != trouble.Lasting {
			return outcome{errand: e, result: overtaken, hold: time.Now().Add(lookAgain)}
		}
		seconds := max(int32(l.JobTTL/time.Second), job.MinTTLSeconds)
		err = l.bounded(ctx, func(ctx context.Context) error { return l.jobs.limit(ctx, j, seconds) })
	}
	switch {
	case err == nil:
		return outcome{errand: e, result: removed, hold: time.Now().Add(lookAgain)}
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return outcome{errand: e, result: overtaken, hold: time.Now().Add(lookAgain)}
	}
	// Nobody waits for it, so it must not keep this launcher awake.
	return outcome{errand: e, result: broken, err: err, hold: time.Now().Add(l.notOursFor())}
}

// tellWhatFollowed tells a run the events since it was told of trouble that it
// has got over.
func (l *Launcher) tellWhatFollowed(ctx context.Context, e *errand, p *patient) outcome {
	lines, after := l.story(ctx, p)
	if err := l.tell(ctx, lines); err != nil {
		return l.refusedByPrefect(ctx, e, p, err)
	}
	p.note = after
	p.note.By, p.note.Until, p.note.Tries, p.note.Told = "", time.Time{}, 0, ""
	return l.released(ctx, e, p, told, ending{})
}
