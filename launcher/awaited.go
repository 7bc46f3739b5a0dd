package launcher

import (
	"context"
	"errors"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// awaited is a claim whose answer is under way. A look at the claims may show it
// before, as when the answer was lost: then it is not waited for any longer.
type awaited struct {
	claim prefect.Claim
	shown context.CancelCauseFunc
}

var errShown = errors.New("the claim shows among the claims")

// await lets a look at the claims end the request that makes the errand's claim.
func (e *errand) await(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, shown := context.WithCancelCause(ctx)
	e.awaited.Store(&awaited{e.claim, shown})
	return ctx, func() {
		e.awaited.Store(nil)
		shown(nil)
	}
}

// show tells the errand how its run was found among the claims. A claim is of one
// launcher and one attempt, so whenever it was applied, it is the one awaited.
func (e *errand) show(run prefect.FlowRun) {
	if a := e.awaited.Load(); a != nil && run.Claim != nil && *run.Claim == a.claim {
		a.shown(errShown)
	}
}

func wasShown(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errShown) }
