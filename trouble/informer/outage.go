package informer

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// repeatEvery is how often it is told that a part still fails.
const repeatEvery = 10 * time.Minute

// outage is whether a part fails, told on the edges.
type outage struct {
	part  Part
	hooks Hooks

	mu   sync.Mutex
	err  error // nil while all is well
	told time.Time
}

func (o *outage) failed(ctx context.Context, err error) {
	if ctx.Err() != nil || listsAnew(err) {
		return
	}
	now := time.Now()
	o.mu.Lock()
	tell := o.err == nil || now.Sub(o.told) >= repeatEvery
	if tell {
		o.told = now
	}
	o.err = err
	o.mu.Unlock()
	if tell && o.hooks.Failed != nil {
		o.hooks.Failed(ctx, o.part, err)
	}
}

// ended is called when a watch has begun, and not for a list: where one is allowed
// and the other is not, it would be told every minute.
func (o *outage) ended(ctx context.Context) {
	o.mu.Lock()
	was := o.err
	o.err = nil
	o.mu.Unlock()
	if was != nil && o.hooks.Recovered != nil {
		o.hooks.Recovered(ctx, o.part)
	}
}

func (o *outage) cause() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// listsAnew reports whether an API server only does not have the version that it
// was asked for. The reflector lists anew then.
func listsAnew(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

// fallsBack reports whether the reflector, when it cannot have a list streamed,
// lists in the old way at once. That call tells how things are: API servers of older
// releases stream none. After the other errors it tries again without a word.
func fallsBack(err error) bool {
	return !utilnet.IsConnectionRefused(err) && !apierrors.IsTooManyRequests(err)
}
