package prefect1

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// maxTries of a read; whoever wants more asks again.
	maxTries = 4
	// maxWait is the longest we sit out a Retry-After; a longer one goes back
	// to the caller, whom prefect.RetryAfter tells.
	maxWait = 5 * time.Second
	// maxRead bounds a read with all its tries for callers without a deadline.
	maxRead = time.Minute
)

// read repeats a request that only reads while the API is away. Requests that
// write are sent once: whether a lost one was applied is for the caller to find
// out (the original re-sends them and loses runs that way, prefect1-spec §9-B3).
func read[T any](ctx context.Context, once func(context.Context) (T, error)) (T, error) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 100 * time.Millisecond
	pause.MaxInterval = 2 * time.Second
	var last error
	v, err := backoff.Retry(ctx, func() (T, error) {
		v, err := once(ctx)
		last = err
		var e *Error
		switch {
		case err == nil:
			return v, nil
		case !errors.As(err, &e) || !e.Temporary() || e.retryAfter > maxWait:
			return v, backoff.Permanent(err)
		case e.retryAfter > 0:
			return v, &backoff.RetryAfterError{Duration: e.retryAfter}
		}
		return v, err
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(maxTries), backoff.WithMaxElapsedTime(maxRead))
	if err == nil {
		return v, nil
	}
	// What the API said last is worth more than "context deadline exceeded" or
	// "retry after", but callers must still see that their context ended.
	if ended := context.Cause(ctx); ended != nil && !errors.Is(last, ended) {
		return v, fmt.Errorf("%w: %w", ended, last)
	}
	return v, last
}
