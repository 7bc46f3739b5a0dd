package informer

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/prefect-keda/prefect-keda/lasting"
)

// outage tells when a part begins to fail, while it fails, and when it works again.
type outage struct {
	part  Part
	hooks Hooks

	mu    sync.Mutex
	err   error // nil while all is well
	fails lasting.State
}

func (o *outage) failed(ctx context.Context, err error) {
	if ctx.Err() != nil || listsAnew(err) {
		return
	}
	o.mu.Lock()
	tell := o.fails.Holds(time.Now())
	o.err = err
	o.mu.Unlock()
	if tell && o.hooks.Failed != nil {
		o.hooks.Failed(ctx, o.part, err)
	}
}

// ended is called when a watch has begun. A list must not call it: if RBAC allows lists
// and no watches, hooks would be called every minute.
func (o *outage) ended(ctx context.Context) {
	o.mu.Lock()
	ended := o.fails.Over()
	o.err = nil
	o.mu.Unlock()
	if ended && o.hooks.Recovered != nil {
		o.hooks.Recovered(ctx, o.part)
	}
}

func (o *outage) cause() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// listsAnew reports whether the API server merely lacks the requested version, so that the
// reflector lists again.
func listsAnew(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

// fallsBack reports whether the reflector, after a failed try to stream a list, lists in
// the old way at once, which reports any error: older API servers cannot stream lists.
// After other errors it silently tries again.
func fallsBack(err error) bool {
	return !utilnet.IsConnectionRefused(err) && !apierrors.IsTooManyRequests(err)
}
