package prefect

import (
	"errors"
	"time"
)

// ErrNotFound says that the API knows no such flow run (any more).
var ErrNotFound = errors.New("not found in Prefect")

// ErrAuth says that the API refused our key or tenant. Nothing but an operator can mend
// it, so it is fatal at start-up and loud afterwards.
var ErrAuth = errors.New("the Prefect API refused the key")

// RetryAfter is how long the API asked to be left alone when it answered with
// err; zero when it did not. It is about everything we ask of it, not only about
// what failed.
func RetryAfter(err error) time.Duration {
	var e interface{ RetryAfter() time.Duration }
	if errors.As(err, &e) {
		return e.RetryAfter()
	}
	return 0
}

// AuthorError is a fault in what the flow's author gave: a template, a value,
// an image. Its text goes to the flow run's log and Failed message, so it tells
// what to change. It fails that run and never holds up another.
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
