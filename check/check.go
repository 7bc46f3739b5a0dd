// Package check tests whether a launcher with given settings would work where it
// is asked: one check after the other, each a question to Prefect or Kubernetes
// whose failure comes with what to do next.
//
// Checks only look: the one Job they create is a dry run. The package knows what
// the others need to work, not how they do it, and neither settings nor output.
package check

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Check is one question.
type Check struct {
	Name string
	// Needs names checks that come before and without which there is no point in
	// asking.
	Needs []string
	// Run answers in a few words what was found. An error says what to do when it
	// comes from failed; one from skipped says why there was nothing to find.
	Run func(ctx context.Context) (found string, err error)
}

// Status is how a check ended.
type Status string

// The three ends.
const (
	OK   Status = "ok"
	Fail Status = "fail"
	Skip Status = "skip"
)

// Result is one check's.
type Result struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	// Detail is what was found, what is wrong or why nothing was asked.
	Detail string `json:"detail"`
	// Advice is what to do about a failure.
	Advice string `json:"advice,omitempty"`
}

// Run runs checks in order, each with so much time, and reports every result as
// it comes. It returns how many failed.
func Run(ctx context.Context, timeout time.Duration, checks []Check, report func(Result)) int {
	failures := 0
	blocked := map[string]string{} // checks that have no answer, with the one that failed
	for _, c := range checks {
		r := c.result(ctx, timeout, blocked)
		if r.Status == Fail {
			failures++
			blocked[c.Name] = c.Name
		}
		report(r)
	}
	return failures
}

func (c Check) result(ctx context.Context, timeout time.Duration, blocked map[string]string) Result {
	for _, need := range c.Needs {
		if root := blocked[need]; root != "" {
			blocked[c.Name] = root
			return Result{Check: c.Name, Status: Skip, Detail: fmt.Sprintf("because of %q above", root)}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	found, err := c.Run(ctx)
	r := Result{Check: c.Name, Status: OK, Detail: oneLine(found)}
	if err == nil {
		return r
	}
	r.Status, r.Detail = Fail, oneLine(err.Error())
	if because, ok := errors.AsType[skipped](err); ok {
		r.Status, r.Detail = Skip, string(because)
	}
	if f, ok := errors.AsType[*failure](err); ok {
		r.Advice = f.advice
	}
	return r
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// failure is an error with what to do about it.
type failure struct {
	error
	advice string
}

// Unwrap is the cause.
func (f *failure) Unwrap() error { return f.error }

func failed(err error, advice string, args ...any) error {
	return &failure{err, fmt.Sprintf(advice, args...)}
}

// skipped is why there was nothing to ask.
type skipped string

// Error is the reason.
func (s skipped) Error() string { return string(s) }
