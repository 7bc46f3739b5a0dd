package job

import (
	"errors"
	"fmt"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// TemplateError is a mistake in the launcher's own template. No run fails for it: runs
// wait until the operator has fixed it. (The agent failed every run meanwhile.)
type TemplateError struct {
	Err error
	// Advice says what the operator can do about it.
	Advice string
	// Passing is set if the template may be in order but cannot be read at the moment.
	Passing bool
}

// Error says what is wrong and what to do.
func (e *TemplateError) Error() string {
	return fmt.Sprintf("%v: %s; runs without a template of their own wait", e.Err, e.Advice)
}

// Unwrap returns the cause, but never an AuthorError: errors.As must not send the
// operator's mistake to a flow's author.
func (e *TemplateError) Unwrap() error {
	if wrong, ok := errors.AsType[*prefect.AuthorError](e.Err); ok {
		return wrong.Err
	}
	return e.Err
}

// AwayError means that the server of a template is away or answers with an error. It may
// pass, so a run that names the template can wait for a while.
type AwayError struct {
	// Since is when that began; the server has not given the template since.
	Since time.Time
	Err   error
}

// Error says what the server did; secrets in the location are hidden.
func (e *AwayError) Error() string { return e.Err.Error() }

// Unwrap is the same error.
func (e *AwayError) Unwrap() error { return e.Err }
