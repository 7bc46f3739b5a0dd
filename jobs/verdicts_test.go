package jobs

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/trouble"
)

// Jobs are judged when they have changed, and when the rules have.
func TestOnlyWhatHasChangedIsJudged(t *testing.T) {
	kinds := map[string]trouble.Kind{"a": trouble.Failed, "b": trouble.Lasting}
	v := newVerdicts()
	for _, step := range []struct {
		name         string
		changed      []string
		becomes      map[string]trouble.Kind
		rules        trouble.Rules
		judged, want []string
	}{
		{"they come", []string{"a", "b", "c"}, nil, trouble.Rules{}, []string{"a", "b", "c"}, []string{"a failed", "b lasting"}},
		{"nothing changes", nil, nil, trouble.Rules{}, nil, []string{"a failed", "b lasting"}},
		{"one becomes well, another a chore", []string{"a", "c"}, map[string]trouble.Kind{"a": "", "c": trouble.Over}, trouble.Rules{}, []string{"a", "c"}, []string{"b lasting", "c over"}},
		{"a chore becomes trouble", []string{"b"}, map[string]trouble.Kind{"b": trouble.Failed}, trouble.Rules{}, []string{"b"}, []string{"b failed", "c over"}},
		{"other rules", nil, nil, trouble.Rules{OwnJobs: true}, []string{"a", "b", "c"}, []string{"b failed", "c over"}},
	} {
		maps.Copy(kinds, step.becomes)
		for _, run := range step.changed {
			v.change(run)
		}
		var judged, got []string
		for _, f := range v.now(step.rules, func() []string { return []string{"a", "b", "c"} }, func(run string) []Troubled {
			judged = append(judged, run)
			if kinds[run] == "" {
				return nil
			}
			return []Troubled{{trouble.Finding{Kind: kinds[run]}, "", run, run}}
		}) {
			got = append(got, fmt.Sprint(f.Run, " ", f.Kind))
		}
		slices.Sort(judged)
		slices.Sort(got)
		if d := cmp.Diff([][]string{step.judged, step.want}, [][]string{judged, got}); d != "" {
			t.Errorf("%s: judged, found (-want +got):\n%s", step.name, d)
		}
	}
}

// Of very many chores a look tells of some, the next of others, and of none twice before all
// have had their turn. They keep nobody from the Jobs in trouble.
func TestChoresTakeTurns(t *testing.T) {
	const chores = 2*choresAtOnce + choresAtOnce/2
	v := newVerdicts()
	for i := range chores {
		v.change(fmt.Sprint("chore-", i))
	}
	judge := func(run string) []Troubled {
		kind := trouble.Lasting
		if run == "failed" {
			kind = trouble.Failed
		}
		return []Troubled{{trouble.Finding{Kind: kind}, "", run, run}}
	}
	look := func() (runs []string) {
		for _, f := range v.now(trouble.Rules{}, nil, judge) {
			runs = append(runs, f.Run)
		}
		return runs
	}
	seen := map[string]int{}
	for i := range 5 {
		runs := look()
		if len(runs) != choresAtOnce {
			t.Fatalf("look %d tells of %d", i, len(runs))
		}
		for _, run := range runs {
			seen[run]++
		}
	}
	for run, n := range seen {
		if n != 2 {
			t.Errorf("5 looks tell %d times of %s, want 2", n, run)
		}
	}
	if len(seen) != chores {
		t.Errorf("5 looks tell of %d runs, want %d", len(seen), chores)
	}
	v.change("failed")
	if runs := look(); !slices.Contains(runs, "failed") {
		t.Error("a Job in trouble waits behind chores")
	}
}
