package exchange

import (
	"context"
	"errors"
	"fmt"
)

// Kind is why there is no answer.
type Kind int

const (
	// Away means that the API or the way to it is away. It may have done what was asked.
	Away Kind = iota
	// Unsent means that the request did not leave in time, so nothing was done.
	Unsent
	// Cancelled means that our caller gave up.
	Cancelled
	// TooLarge means that the answer is more than we hold.
	TooLarge
	// Unusable means that no request can be made of the URL.
	Unusable
)

// Failure is a request without an answer, in the parts of which clients make their errors.
type Failure struct {
	Kind Kind
	// Status of the answer that was too large.
	Status int
	Detail string
	Cause  error
}

// NoAnswer tells a caller that gave up from an API that is away. Our own deadline means that
// the API is away.
func NoAnswer(ctx context.Context, err error) *Failure {
	f := &Failure{Kind: Away, Detail: "no answer from the Prefect API", Cause: err}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, ErrUnsent):
		f.Kind, f.Detail, f.Cause = Unsent, "the Prefect API cannot be reached", ErrUnsent
	case errors.Is(cause, context.Canceled):
		f.Kind = Cancelled
	}
	return f
}

// Explain puts a method's purpose in front of its error.
func Explain(err *error, what string, args ...any) {
	if *err != nil {
		*err = fmt.Errorf("%s: %w", fmt.Sprintf(what, args...), *err)
	}
}
