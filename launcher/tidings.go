package launcher

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// tidingsWaiting may pile up during a burst.
	tidingsWaiting = 1024
	// tidingsWait is how long one waits for the burst to end.
	tidingsWait = 10 * time.Second
)

// tidings tell the backend, best effort and one after the other, which claimed runs have their
// Jobs. That may cost a server as much as a claim, and in a burst claims and Jobs come first.
// If so many wait that the burst must be a long one, they are told beside the launches that
// follow, each at once.
type tidings struct {
	backend Backend
	log     *slog.Logger
	waiting chan tiding
	beside  errgroup.Group // of those that do not wait
	// burst is set while runs wait to be claimed, and over signals that none do.
	burst atomic.Bool
	over  chan struct{}
}

// tiding says that a run has the Job of its claim, since when.
type tiding struct {
	run   prefect.FlowRun
	claim prefect.Claim
	since time.Time
}

// newTidings tells atOnce of them at the same time in a long burst.
func newTidings(b Backend, log *slog.Logger, atOnce int) *tidings {
	t := &tidings{backend: b, log: log, waiting: make(chan tiding, tidingsWaiting), over: make(chan struct{}, 1)}
	t.beside.SetLimit(atOnce)
	return t
}

// add has the backend told that the Job of a claimed run exists. In a long burst it waits
// for a backend that is slower to be told than to be claimed from.
func (t *tidings) add(ctx context.Context, d tiding) {
	d.run.Recipe = nil // it may be large, and has become a Job
	select {
	case t.waiting <- d:
	default:
		t.beside.Go(func() error { t.tell(ctx, d); return nil })
	}
}

// setBurst says whether runs wait to be claimed.
func (t *tidings) setBurst(is bool) {
	if t.burst.Swap(is) && !is {
		signal(t.over)
	}
}

// write tells until stop is closed, then the rest. ctx must outlive stop, after which
// nothing is added.
func (t *tidings) write(ctx context.Context, stop <-chan struct{}) {
	for {
		select {
		case next := <-t.waiting:
			t.await(next.since.Add(tidingsWait), stop)
			t.tell(ctx, next)
		case <-stop:
			for len(t.waiting) > 0 {
				t.tell(ctx, <-t.waiting)
			}
			_ = t.beside.Wait() // none answers with an error
			return
		}
	}
}

// await waits for the end of a burst, but not beyond a time.
func (t *tidings) await(until time.Time, stop <-chan struct{}) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for t.burst.Load() && time.Now().Before(until) {
		select {
		case <-t.over:
		case <-timer.C:
		case <-stop:
			return
		}
	}
}

func (t *tidings) tell(ctx context.Context, d tiding) {
	ctx, cancel := context.WithTimeout(ctx, claims.CallTimeout)
	defer cancel()
	if err := t.backend.Launched(ctx, d.run, d.claim); err != nil {
		t.log.WarnContext(ctx, "the backend could not be told that the Job exists", "flow_run", d.run.ID, "job", d.claim.Job, "err", err)
	}
}
