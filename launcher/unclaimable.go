package launcher

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// unclaimable is for a claim that would be refused again. If that is for what the run
// carries, whoever claims it without tells its author, unless a pod is there that
// takes it as it is.
func (l *Launcher) unclaimable(ctx context.Context, e *errand, err error) (outcome, bool) {
	wrong, isAuthors := errors.AsType[*prefect.AuthorError](err)
	hold := time.Now().Add(handBackDelay)
	switch {
	case !isAuthors || e.failure != "":
		return outcome{errand: e, result: broken, err: err, blame: prefectAPI, hold: hold}, false
	case slices.ContainsFunc(l.jobs.known(e.Run.ID).Jobs, func(j Job) bool { return j.CanTake }):
		return outcome{errand: e, result: later, hold: hold}, false
	}
	e.failure = wrong.Message
	if !e.Run.State.Type.IsScheduled() {
		return l.fail(ctx, e), false // of its tasks that cannot be claimed nothing can be left out
	}
	e.Run.State.Opaque = nil
	return l.claim(ctx, e)
}
