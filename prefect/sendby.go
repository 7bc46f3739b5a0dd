package prefect

import (
	"context"
	"time"
)

type sendByKey struct{}

// WithSendBy bounds when a request made with the context is sent; how long its
// answer is awaited is the context's own deadline. A write that rests on what was
// read must not leave late, but once it has left, giving up on the answer calls
// nothing back.
func WithSendBy(ctx context.Context, at time.Time) context.Context {
	return context.WithValue(ctx, sendByKey{}, at)
}

// SendBy is when a request made with the context must have been sent; false when
// any time will do.
func SendBy(ctx context.Context) (at time.Time, bounded bool) {
	at, bounded = ctx.Value(sendByKey{}).(time.Time)
	return at, bounded
}

// TooLateToSend reports whether a request made with the context may not be sent any
// more. A machine that slept has a monotonic clock that did not go on, so the wall
// clock has a say as well.
func TooLateToSend(ctx context.Context) bool {
	at, bounded := SendBy(ctx)
	now := time.Now()
	return bounded && (now.After(at) || now.Round(0).After(at.Round(0)))
}
