package check_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/check"
)

// results runs checks to the end.
func results(t *testing.T, checks []check.Check) (all []check.Result, failures int) {
	t.Helper()
	failures = check.Run(t.Context(), 10*time.Second, checks, func(r check.Result) { all = append(all, r) })
	return all, failures
}

// remarkable are the results that are not ok, without those that were skipped
// because of another.
func remarkable(t *testing.T, checks []check.Check) []check.Result {
	t.Helper()
	all, _ := results(t, checks)
	kept := []check.Result{}
	for _, r := range all {
		if r.Status == check.Fail || r.Status == check.Skip && !strings.HasPrefix(r.Detail, "because of") {
			kept = append(kept, r)
		}
	}
	return kept
}

// What needs a failure is skipped, with the first of them as the reason; the rest
// goes on. Each check has a deadline.
func TestRun(t *testing.T) {
	asked := []string{}
	ends := func(name string, err error) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			if _, bounded := ctx.Deadline(); !bounded {
				t.Errorf("%s has no deadline", name)
			}
			asked = append(asked, name)
			return "found " + name, err
		}
	}
	got, failures := results(t, []check.Check{
		{Name: "a", Run: ends("a", nil)},
		{Name: "b", Needs: []string{"a"}, Run: ends("b", errors.New("no\n b"))},
		{Name: "c", Needs: []string{"a", "b"}, Run: ends("c", nil)},
		{Name: "d", Needs: []string{"c"}, Run: ends("d", nil)},
		{Name: "e", Needs: []string{"a"}, Run: ends("e", nil)},
	})
	want := []check.Result{
		{Check: "a", Status: check.OK, Detail: "found a"},
		{Check: "b", Status: check.Fail, Detail: "no b"},
		{Check: "c", Status: check.Skip, Detail: `because of "b" above`},
		{Check: "d", Status: check.Skip, Detail: `because of "b" above`},
		{Check: "e", Status: check.OK, Detail: "found e"},
	}
	if d := cmp.Diff(want, got); d != "" || failures != 1 {
		t.Errorf("%d failures, -want +got:\n%s", failures, d)
	}
	if d := cmp.Diff([]string{"a", "b", "e"}, asked); d != "" {
		t.Errorf("asked: -want +got:\n%s", d)
	}
}
