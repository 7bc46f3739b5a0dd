package launcher

import (
	"context"
	"log/slog"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// tidingsWaiting may pile up during a burst.
const tidingsWaiting = 256

// tidings tell the backend, best effort and one after the other, which claimed runs have their
// Jobs. That may cost a server as much as a claim, and in a burst claims and Jobs come first.
// If so many wait that the burst must be a long one, each launch tells by itself.
type tidings struct {
	backend Backend
	log     *slog.Logger
	waiting chan tiding
}

// tiding says that a run has the Job of its claim.
type tiding struct {
	run   prefect.FlowRun
	claim prefect.Claim
}

func newTidings(b Backend, log *slog.Logger) *tidings {
	return &tidings{backend: b, log: log, waiting: make(chan tiding, tidingsWaiting)}
}

// launched has the backend told that the Job of a claimed run exists.
func (t *tidings) launched(ctx context.Context, run prefect.FlowRun, claim prefect.Claim) {
	run.Recipe = nil // it may be large, and has become a Job
	select {
	case t.waiting <- tiding{run, claim}:
	default:
		t.tell(ctx, tiding{run, claim})
	}
}

// write tells until stop is closed, then the rest. ctx must outlive stop.
func (t *tidings) write(ctx context.Context, stop <-chan struct{}) {
	for {
		select {
		case next := <-t.waiting:
			t.tell(ctx, next)
		case <-stop:
			for len(t.waiting) > 0 {
				t.tell(ctx, <-t.waiting)
			}
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
