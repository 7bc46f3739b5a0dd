package prefect

import (
	"errors"
	"time"
)

// ErrNotFound says that the API does not know the flow run (any more).
var ErrNotFound = errors.New("not found in Prefect")

// ErrAuth says that the API refused our key or tenant. Only an operator can fix that. A
// launcher that never had access ends with it. The scaler goes on: KEDA freezes while it
// gets errors, and the key may become valid again.
var ErrAuth = errors.New("the Prefect API refused the key")

// RetryAfter is how long the API asked to be left alone when it answered with err; zero
// if it did not ask. It holds for all requests, not only for the failed one.
func RetryAfter(err error) time.Duration {
	var e interface{ RetryAfter() time.Duration }
	if errors.As(err, &e) {
		return e.RetryAfter()
	}
	return 0
}

// Away names the part of the API that was away when it answered with err; empty if none
// is known to have been.
func Away(err error) string {
	var e interface{ Away() string }
	if errors.As(err, &e) {
		return e.Away()
	}
	return ""
}

// Temporary reports whether the cause of err may pass by itself.
func Temporary(err error) bool {
	var e interface{ Temporary() bool }
	return errors.As(err, &e) && e.Temporary()
}

// AuthorError is a mistake of the flow's author in a template, a value or an image. Its
// text goes to the flow run's log and Failed message, so it tells what to change. It
// fails that run and never holds up another.
type AuthorError struct {
	// Message is the whole text the author sees.
	Message string
	// Err is the cause, for logs; may be nil.
	Err error
}

// Error is the text for the author.
func (e *AuthorError) Error() string { return e.Message }

// Unwrap is the cause.
func (e *AuthorError) Unwrap() error { return e.Err }

// FailureKind says who or what failed a run.
type FailureKind int

const (
	// ByAuthor means that no Job can be made because of the author's mistake.
	ByAuthor FailureKind = iota + 1
	// ByInfrastructure means that the Job could not begin the flow, or ended early.
	ByInfrastructure
)

// Failure is the reason for setting a run failed, in words for its author. Backends may
// have a different state for each kind.
type Failure struct {
	Kind    FailureKind
	Message string
}
