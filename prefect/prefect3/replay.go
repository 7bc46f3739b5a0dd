package prefect3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prefect-keda/prefect-keda/backoff"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// maxTries of one request; callers that want more ask again.
	maxTries = 5
	// maxWait is the longest Retry-After we sit out; prefect.RetryAfter tells callers of a
	// longer one.
	maxWait = 5 * time.Second
	// maxCall bounds a request with all its tries for callers without a deadline.
	maxCall = time.Minute
)

// send repeats a request with the same body while the API is away or busy, until the
// caller's deadline or its prefect.SendBy. Every request of this package may be repeated:
// reads anyway, and states by their transition id (prefect3 §1.7).
//
// An error after an unanswered try does not say that nothing was done, whatever came of
// the later tries.
func (w *wire) send(ctx context.Context, c call, into any) error {
	began, pauses := time.Now(), backoff.Growing{First: 100 * time.Millisecond, Longest: 2 * time.Second}
	var unanswered *Error
	for try := 1; ; try++ {
		err := w.once(ctx, c, into)
		var e *Error
		if err == nil || !errors.As(err, &e) {
			return err
		}
		if unanswered != nil && (e.kind == throttled || e.kind == unsent || e.kind == cancelled) {
			unanswered.retryAfter = cmp.Or(e.retryAfter, unanswered.retryAfter)
			e = unanswered
		}
		if e.kind == transient || e.kind == malformed {
			unanswered = e
		}
		if try == maxTries || !e.Temporary() || e.kind == unsent || e.retryAfter > maxWait {
			return withCause(ctx, e)
		}
		pause := cmp.Or(e.retryAfter, backoff.Jitter(nil).Spread(pauses.After(try), 0.5))
		if time.Since(began)+pause > maxCall || isTooLate(ctx, pause) {
			return withCause(ctx, e)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return withCause(ctx, e)
		}
	}
}

// isTooLate reports whether a request may no longer be sent after a pause.
func isTooLate(ctx context.Context, pause time.Duration) bool {
	at, bounded := prefect.SendBy(ctx)
	return bounded && time.Now().Add(pause).After(at)
}

// withCause adds the API's last words, which say more than "context deadline exceeded".
// But callers must still see that their context ended.
func withCause(ctx context.Context, last *Error) error {
	if ended := context.Cause(ctx); ended != nil && !errors.Is(last, ended) {
		return fmt.Errorf("%w: %w", ended, last)
	}
	return last
}

func (w *wire) get(ctx context.Context, op, path string, into any) error {
	return w.send(ctx, call{op: op, method: http.MethodGet, path: path}, into)
}

func (w *wire) post(ctx context.Context, op, path string, body, into any) error {
	c, err := newCall(op, http.MethodPost, path, body)
	if err != nil {
		return err
	}
	return w.send(ctx, c, into)
}

func (w *wire) patch(ctx context.Context, op, path string, body any) error {
	c, err := newCall(op, http.MethodPatch, path, body)
	if err != nil {
		return err
	}
	return w.send(ctx, c, nil)
}
