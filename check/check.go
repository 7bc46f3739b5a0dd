// Package check tests whether a launcher with given settings would work here. It runs one
// check after the other. Each asks Prefect or Kubernetes something, and a failure says
// what to do next.
//
// Checks change nothing: the one Job they create is a dry run. The package knows what the
// other packages need, but not how they work, and it knows neither settings nor output.
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
	// Needs names earlier checks; if one of them failed, this one is skipped.
	Needs []string
	// Run says in a few words what it found. An error made by failed says what to do; one
	// made by skipped says why there was nothing to check.
	Run func(ctx context.Context) (found string, err error)
}

// Status is how a check ended.
type Status string

// A check ends in one of three ways.
const (
	OK   Status = "ok"
	Fail Status = "fail"
	Skip Status = "skip"
)

// Result is the result of one check.
type Result struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	// Detail says what was found, what is wrong, or why the check was skipped.
	Detail string `json:"detail"`
	// Advice says what to do about a failure.
	Advice string `json:"advice,omitempty"`
}

// Run runs checks in order, each with a timeout, and reports every result as it comes. It
// returns how many failed.
func Run(ctx context.Context, timeout time.Duration, checks []Check, report func(Result)) int {
	failures := 0
	blocked := map[string]string{} // checks without a result, and the failed check behind each
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

type failure struct {
	error
	advice string
}

func (f *failure) Unwrap() error { return f.error }

func failed(err error, advice string, args ...any) error {
	return &failure{err, fmt.Sprintf(advice, args...)}
}

// skipped says why there was nothing to check.
type skipped string

func (s skipped) Error() string { return string(s) }
