package scaler

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return noon.Add(d) }

func troubledJob(kind trouble.Kind, from time.Time, labels ...string) troubled {
	return troubled{found{Finding: trouble.Finding{Kind: kind, From: from}, Namespace: "flows", Job: "j", Run: "r"}, prefect.Place{Labels: labels}}
}

// There are as many groups as places, in whatever order and how often a run
// has them, and each is in due order.
func TestGroupByPlace(t *testing.T) {
	got := groupByPlace([]prefect.DueRun{
		run("5", at(5), "b", "a", "b"), run("4", at(1), "a", "b"), run("3", at(1), "b", "a"), run("2", at(2)),
		run("1", at(3), "a"), run("0", at(4), "a"), run("6", at(6), "a"), run("7", at(7), "a"), run("8", at(8), "a"), run("9", at(9), "a"),
	})
	want := []group{
		{Place: prefect.Place{Labels: []string{"a", "b"}}, Due: []time.Time{at(1), at(1), at(5)}, First: []string{"3", "4", "5"}},
		{Due: []time.Time{at(2)}, First: []string{"2"}},
		{Place: prefect.Place{Labels: []string{"a"}}, Due: []time.Time{at(3), at(4), at(6), at(7), at(8), at(9)}, First: []string{"1", "0", "6", "7", "8"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDecide(t *testing.T) {
	tr := func(change ...func(*trigger)) trigger {
		v := defaultTrigger()
		v.Scope.Labels = []string{"a", "b"}
		for _, c := range change {
			c(&v)
		}
		return v
	}
	threshold := func(t *trigger) { t.ActivationThreshold = 2 }
	look := func(runs ...prefect.DueRun) *snapshot { return newSnapshot(prefect.Observation{Due: runs}, noon) }
	lacking := func(from time.Duration, labels ...string) *snapshot {
		return look().with([]claim{{ClaimedRun: prefect.ClaimedRun{ID: "c", Place: prefect.Place{Labels: labels}}, CountsFrom: at(from)}}, nil, nil, nil)
	}
	truncated := func(runs ...prefect.DueRun) *snapshot {
		return newSnapshot(prefect.Observation{Due: runs, Truncated: true}, noon)
	}
	jobs := func(jobs ...troubled) *snapshot { return look().with(nil, nil, jobs, nil) }
	silent := func(w ...claim) *snapshot { return look().with(nil, w, nil, nil) }
	waits := func(from time.Duration, labels ...string) claim {
		return claim{ClaimedRun: prefect.ClaimedRun{ID: "w", Place: prefect.Place{Labels: labels}}, CountsFrom: at(from)}
	}
	three := look(run("1", at(-time.Second), "a"), run("2", at(-time.Minute), "a", "b"), run("3", at(-time.Hour), "b"))

	for name, tc := range map[string]struct {
		snapshot *snapshot
		trigger  trigger
		was      bool
		want     verdict
		reason   string
	}{
		"nothing": {look(), tr(), true, verdict{}, "no run with these labels is due"},
		"due runs with our labels": {
			three, tr(), false,
			verdict{Due: 3, Active: true, Value: 3, Since: at(-time.Hour)},
			"3 due",
		},
		"other labels": {look(run("1", at(-time.Second), "a", "c"), run("2", at(-time.Second))), tr(), false, verdict{}, "no run with these labels is due"},
		"no labels is a label": {
			look(run("1", at(-time.Second), "a"), run("2", at(-time.Second))), tr(func(t *trigger) { t.Scope.Labels = nil }), false,
			verdict{Due: 1, Active: true, Value: 1, Since: at(-time.Second)},
			"1 due",
		},
		"due this instant": {look(run("1", noon, "a")), tr(), false, verdict{Due: 1, Active: true, Value: 1, Since: noon}, "1 due"},
		"within the lead": {
			look(run("1", at(10*time.Second), "a")), tr(), false,
			verdict{Ahead: 1, Active: true, Value: 1, Since: at(10 * time.Second)},
			"1 due within 10s",
		},
		"beyond the lead": {
			look(run("1", at(11*time.Second), "a"), run("2", at(time.Minute), "b")), tr(), false,
			verdict{NextWake: at(time.Second)},
			"no run with these labels is due",
		},
		"without a time": {look(run("1", time.Time{}, "a")), tr(), false, verdict{Due: 1, Active: true, Value: 1}, "1 due"},
		"claim without a Job": {
			lacking(-time.Second, "a"), tr(), false,
			verdict{WithoutJob: 1, Active: true, Value: 1},
			"1 claimed without a Job",
		},
		"claim in its grace":     {lacking(time.Second, "a"), tr(), false, verdict{NextWake: at(time.Second)}, "no run with these labels is due"},
		"claim of somebody else": {lacking(-time.Second, "c"), tr(), false, verdict{}, "no run with these labels is due"},
		"Jobs that wait":         {silent(waits(time.Hour, "a"), waits(time.Minute, "b"), waits(time.Second, "c")), tr(), false, verdict{NextWake: at(time.Minute)}, "no run with these labels is due"},
		"heartbeats are one thing to do": {
			silent(waits(0, "a"), waits(-time.Minute, "b"), waits(time.Minute, "b"), waits(0, "c")), tr(), false,
			verdict{HeartbeatsDue: 2, Active: true, Value: 1},
			"2 whose Job waits need a heartbeat",
		},
		"a heartbeat does not wait for the threshold":           {silent(waits(0, "a")), tr(threshold), false, verdict{HeartbeatsDue: 1, Active: true, Value: 1}, "1 whose Job waits need a heartbeat"},
		"a claim without a Job does not wait for the threshold": {lacking(-time.Second, "a"), tr(threshold), false, verdict{WithoutJob: 1, Active: true, Value: 1}, "1 claimed without a Job"},
		"a Job in trouble does not wait for the threshold": {
			jobs(troubledJob(trouble.Failed, noon, "a")), tr(threshold), false,
			verdict{Troubled: map[trouble.Kind]int64{trouble.Failed: 1}, Active: true, Value: 1},
			"1 in trouble (failed)",
		},
		"what cannot wait does not count as due": {
			look(run("1", noon, "a"), run("2", noon, "a")).with([]claim{{ClaimedRun: prefect.ClaimedRun{Place: prefect.Place{Labels: []string{"a"}}}, CountsFrom: at(time.Second)}}, nil, nil, nil), tr(threshold), false,
			verdict{Due: 2, Since: noon, NextWake: at(time.Second)},
			"2 due; not above the activation threshold 2",
		},
		"Jobs in trouble": {
			jobs(troubledJob(trouble.Failed, at(-time.Hour), "a"), troubledJob(trouble.ImagePull, noon, "b"), troubledJob(trouble.Failed, at(-1), "c")), tr(), false,
			verdict{Troubled: map[trouble.Kind]int64{trouble.Failed: 1, trouble.ImagePull: 1}, Active: true, Value: 2},
			"1 in trouble (failed), 1 in trouble (image_pull)",
		},
		"a Job in its grace":        {jobs(troubledJob(trouble.ImagePull, at(time.Second), "a")), tr(), false, verdict{NextWake: at(time.Second)}, "no run with these labels is due"},
		"at the threshold":          {look(run("1", noon, "a"), run("2", noon, "a")), tr(threshold), false, verdict{Due: 2, Since: noon}, "2 due; not above the activation threshold 2"},
		"above the threshold":       {three, tr(threshold), false, verdict{Due: 3, Active: true, Value: 3, Since: at(-time.Hour)}, "3 due"},
		"work left below threshold": {look(run("1", noon, "a")), tr(threshold), true, verdict{Due: 1, Active: true, Latched: true, Value: 1, Since: noon}, "1 due; not above the activation threshold 2, but a launcher was started and work is left"},
		"no work left":              {look(), tr(threshold), true, verdict{}, "no run with these labels is due"},
		"capped": {
			three, tr(func(t *trigger) { t.MaxLaunchers, t.RunsPerLauncher = 2, 1 }), false,
			verdict{Due: 3, Active: true, Value: 2, Capped: true, Since: at(-time.Hour)},
			"3 due; limited to 2 launchers of 1 runs",
		},
		"more than one look returns": {
			truncated(run("1", noon, "a")), tr(threshold), false,
			verdict{Due: 1, AtLeast: true, Active: true, Value: 1, Since: noon},
			"1 due; more runs wait than one poll returns, and some of them may have these labels",
		},
		"all of it somebody else's": {
			truncated(run("1", noon, "x")), tr(), false,
			verdict{AtLeast: true, Active: true, Value: 1},
			"no run with these labels is due; more runs wait than one poll returns, and some of them may have these labels",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := decide(tc.snapshot, tc.trigger, tc.was, noon)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tc.reason, got.reason(tc.trigger)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFirstRunsAreInDueOrderAcrossPlaces(t *testing.T) {
	s := newSnapshot(prefect.Observation{Due: []prefect.DueRun{
		run("4", at(-1*time.Second), "a"), run("2", at(-3*time.Second), "b"), run("9", at(time.Minute), "a"),
		run("3", at(-2*time.Second), "a", "b"), run("1", at(-4*time.Second), "a"), run("0", at(-9*time.Second), "c"),
	}}, noon)
	tr := defaultTrigger()
	tr.Scope.Labels = []string{"a", "b"}
	if diff := cmp.Diff([]string{"1", "2", "3", "4"}, runsFor(s, tr, noon)); diff != "" {
		t.Error(diff)
	}
}

// TestVerdictProperties holds the answers together over any world: active and
// the metric agree, the metric is finite and bounded, the grouped count is the
// naive one, and nothing changes before the wake that was announced.
func TestVerdictProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		labels := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), rapid.ID[string])
		offset := rapid.Int64Range(-30, 90)
		var runs []prefect.DueRun
		for i := range rapid.IntRange(0, 20).Draw(t, "runs") {
			runs = append(runs, run(fmt.Sprint(i), at(time.Duration(offset.Draw(t, "due"))*time.Second), labels.Draw(t, "labels")...))
		}
		var lacking []claim
		for i := range rapid.IntRange(0, 3).Draw(t, "claims") {
			lacking = append(lacking, claim{ClaimedRun: prefect.ClaimedRun{ID: fmt.Sprint("c", i), Place: prefect.Place{Labels: labels.Draw(t, "labels")}}, CountsFrom: at(time.Duration(offset.Draw(t, "from")) * time.Second)})
		}
		var jobs []troubled
		for range rapid.IntRange(0, 3).Draw(t, "jobs") {
			kind := rapid.SampledFrom(trouble.Kinds()).Draw(t, "kind")
			jobs = append(jobs, troubledJob(kind, at(time.Duration(offset.Draw(t, "from"))*time.Second), labels.Draw(t, "labels")...))
		}
		var waits []claim
		for range rapid.IntRange(0, 3).Draw(t, "waits") {
			waits = append(waits, claim{ClaimedRun: prefect.ClaimedRun{Place: prefect.Place{Labels: labels.Draw(t, "labels")}}, CountsFrom: at(time.Duration(offset.Draw(t, "from")) * time.Second)})
		}
		s := newSnapshot(prefect.Observation{Due: runs, Truncated: rapid.Bool().Draw(t, "truncated")}, noon).with(lacking, waits, jobs, nil)
		tr := trigger{
			Scope:               prefect.Scope{Labels: labels.Draw(t, "ours")},
			RunsPerLauncher:     rapid.Int64Range(1, 5).Draw(t, "runsPerLauncher"),
			ActivationThreshold: rapid.Int64Range(0, 5).Draw(t, "threshold"),
			MaxLaunchers:        rapid.Int64Range(0, 3).Draw(t, "maxLaunchers"),
			WarmUpLead:          time.Duration(rapid.Int64Range(0, 60).Draw(t, "lead")) * time.Second,
		}
		was := rapid.Bool().Draw(t, "was")
		v := decide(s, tr, was, noon)

		if v.Active != (v.Value > 0) {
			t.Fatalf("active %v with value %d", v.Active, v.Value)
		}
		if v.Value < 0 || v.Value > maxValue || (tr.MaxLaunchers > 0 && v.Value > tr.MaxLaunchers*tr.RunsPerLauncher) {
			t.Fatalf("value %d is out of bounds", v.Value)
		}
		var naive int64
		for _, r := range runs {
			if tr.Scope.Takes(r.Place) && !r.Due.After(noon.Add(tr.WarmUpLead)) {
				naive++
			}
		}
		if v.Due+v.Ahead != naive {
			t.Fatalf("counted %d + %d runs, want %d", v.Due, v.Ahead, naive)
		}
		if was && v.Demand() > 0 && !v.Active {
			t.Fatal("deactivated while work is left")
		}
		if v.NextWake.IsZero() {
			if later := decide(s, tr, was, noon.Add(time.Hour)); later.Demand() != v.Demand() {
				t.Fatalf("demand went from %d to %d without a wake", v.Demand(), later.Demand())
			}
			return
		}
		if before := decide(s, tr, was, v.NextWake.Add(-1)); before.Demand() != v.Demand() {
			t.Fatalf("demand changed to %d before the wake", before.Demand())
		}
		if then := decide(s, tr, was, v.NextWake); then.Demand() <= v.Demand() {
			t.Fatalf("demand %d did not grow at the wake", then.Demand())
		}
	})
}
