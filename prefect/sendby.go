package prefect

import (
	"context"
	"time"
)

type sendByKey struct{}

// WithSendBy bounds when a request may be sent; the context's own deadline bounds the wait
// for the answer. A write must not leave long after the read that it rests on, but once it
// has left, giving up on the answer undoes nothing.
func WithSendBy(ctx context.Context, at time.Time) context.Context {
	return context.WithValue(ctx, sendByKey{}, at)
}

// SendBy is the time by which a request must have been sent; false if there is no bound.
func SendBy(ctx context.Context) (at time.Time, bounded bool) {
	at, bounded = ctx.Value(sendByKey{}).(time.Time)
	return at, bounded
}

// TooLateToSend reports whether a request may no longer be sent. The monotonic clock stops
// while a machine sleeps, so the wall clock counts as well.
func TooLateToSend(ctx context.Context) bool {
	at, bounded := SendBy(ctx)
	now := time.Now()
	return bounded && (now.After(at) || now.Round(0).After(at.Round(0)))
}
