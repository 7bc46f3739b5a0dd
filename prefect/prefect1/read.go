package prefect1

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prefect-keda/prefect-keda/backoff"
)

const (
	// maxTries of a read; callers that want more ask again.
	maxTries = 4
	// maxWait is the longest Retry-After we sit out; prefect.RetryAfter tells callers of
	// a longer one.
	maxWait = 5 * time.Second
	// maxRead bounds a read with all its tries for callers without a deadline.
	maxRead = time.Minute
)

// read repeats a request that only reads while the API is away. Writes are sent once: the
// caller has to find out whether a lost one was applied (the original re-sends them and
// loses runs that way, prefect1 §9.1-B3).
func read[T any](ctx context.Context, once func(context.Context) (T, error)) (T, error) {
	began, pauses := time.Now(), backoff.Growing{First: 100 * time.Millisecond, Longest: 2 * time.Second}
	for try := 1; ; try++ {
		v, err := once(ctx)
		var e *Error
		if err == nil || try == maxTries || !errors.As(err, &e) || !e.Temporary() || e.retryAfter > maxWait {
			return v, withCause(ctx, err)
		}
		pause := cmp.Or(e.retryAfter, backoff.Jitter(nil).Spread(pauses.After(try), 0.5))
		if time.Since(began)+pause > maxRead {
			return v, withCause(ctx, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return v, withCause(ctx, err)
		}
	}
}

// withCause adds the API's last words, which say more than "context deadline exceeded".
// But callers must still see that their context ended.
func withCause(ctx context.Context, last error) error {
	if ended := context.Cause(ctx); last != nil && ended != nil && !errors.Is(last, ended) {
		return fmt.Errorf("%w: %w", ended, last)
	}
	return last
}
