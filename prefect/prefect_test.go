package prefect_test

import (
	"slices"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

func TestScopeTakes(t *testing.T) {
	for _, tc := range []struct {
		name          string
		launcher, run []string
		want          bool
	}{
		{"no labels on either side", nil, nil, true},
		{"an unlabelled run is not for a labelled launcher", []string{"a"}, nil, false},
		{"a labelled run is not for an unlabelled launcher", nil, []string{"a"}, false},
		{"subset", []string{"b", "a"}, []string{"a"}, true},
		{"equal in another order", []string{"b", "a"}, []string{"a", "b"}, true},
		{"one label too many", []string{"a"}, []string{"a", "b"}, false},
		{"case matters", []string{"a"}, []string{"A"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := (prefect.Scope{Labels: tc.launcher}).Takes(prefect.Place{Labels: tc.run}); got != tc.want {
				t.Errorf("%q takes %q: %v, want %v", tc.launcher, tc.run, got, tc.want)
			}
		})
	}
}

func TestScopeTakesWorkPools(t *testing.T) {
	for _, tc := range []struct {
		name  string
		scope prefect.Scope
		place prefect.Place
		want  bool
	}{
		{"every pool", prefect.Scope{}, prefect.Place{Pool: "k8s", Queue: "default"}, true},
		{"one of the pools", prefect.Scope{Pools: []string{"a", "k8s"}}, prefect.Place{Pool: "k8s", Queue: "low"}, true},
		{"another pool", prefect.Scope{Pools: []string{"a"}}, prefect.Place{Pool: "k8s", Queue: "default"}, false},
		{"its queue", prefect.Scope{Pools: []string{"k8s"}, Queues: []string{"high", "low"}}, prefect.Place{Pool: "k8s", Queue: "low"}, true},
		{"another queue", prefect.Scope{Pools: []string{"k8s"}, Queues: []string{"high"}}, prefect.Place{Pool: "k8s", Queue: "low"}, false},
		{"a queue of every pool", prefect.Scope{Queues: []string{"high"}}, prefect.Place{Pool: "b", Queue: "high"}, true},
		{"case matters", prefect.Scope{Pools: []string{"K8s"}}, prefect.Place{Pool: "k8s", Queue: "default"}, false},
		{"labels have nothing to do with pools", prefect.Scope{Labels: []string{"k8s"}}, prefect.Place{Pool: "k8s", Queue: "default"}, false},
		{"pools have nothing to do with labels", prefect.Scope{Pools: []string{"k8s"}}, prefect.Place{Labels: []string{"k8s"}}, false},
		{"pools do not take runs without labels", prefect.Scope{Pools: []string{"k8s"}}, prefect.Place{}, false},
		{"queues do not take runs without labels", prefect.Scope{Queues: []string{"high"}}, prefect.Place{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.scope.Takes(tc.place); got != tc.want {
				t.Errorf("%s takes %s: %v, want %v", tc.scope, tc.place, got, tc.want)
			}
		})
	}
}

// Launchers and triggers are grouped by keys, so equal ones must have one key and others
// another.
func TestKeys(t *testing.T) {
	place := func(labels ...string) prefect.Place { return prefect.Place{Labels: labels} }
	for _, same := range [][2]prefect.Place{{place("b", "a", "b"), place("a", "b")}, {place(), {}}} {
		if same[0].Key() != same[1].Key() || !slices.Equal(same[0].Canonical().Labels, same[1].Labels) {
			t.Errorf("%s and %s are one place", same[0], same[1])
		}
	}
	for _, differ := range [][2]prefect.Place{{place("a"), place("a", "b")}, {place("a", "b"), place("a,b")}, {place(), place("a")}, {place("a"), place("A")}, {{Pool: "a", Queue: "b"}, {Pool: "a", Queue: "c"}}, {{Pool: "a", Queue: "b"}, place("a", "b")}, {{Pool: "a"}, place("a")}} {
		if differ[0].Key() == differ[1].Key() {
			t.Errorf("%s and %s are two places", differ[0], differ[1])
		}
	}
	for _, differ := range [][2]prefect.Scope{
		{{Pools: []string{"a"}}, {Queues: []string{"a"}}}, {{Pools: []string{"a", "b"}}, {Pools: []string{"a"}, Queues: []string{"b"}}}, {{Labels: []string{"a"}}, {Pools: []string{"a"}}}, {{}, {Pools: []string{"a"}}},
	} {
		if differ[0].Key() == differ[1].Key() {
			t.Errorf("%s and %s are two scopes", differ[0], differ[1])
		}
	}
	if a, b := (prefect.Scope{Pools: []string{"b", "a"}}), (prefect.Scope{Pools: []string{"a", "b"}}); a.Key() != b.Key() {
		t.Errorf("%s and %s are one scope", a, b)
	}
	if a, b := (prefect.Scope{Labels: []string{"b", "a"}}), (prefect.Scope{Labels: []string{"a", "b"}}); a.Key() != b.Key() {
		t.Errorf("%s and %s are one scope", a, b)
	}
}

func TestClaimIsIn(t *testing.T) {
	for _, tc := range []struct {
		name  string
		claim prefect.Claim
		want  bool
	}{
		{"this namespace", prefect.Claim{Namespace: "flows", NamespaceUID: "here"}, true},
		{"one of the same name in another cluster", prefect.Claim{Namespace: "flows", NamespaceUID: "there"}, false},
		{"another namespace", prefect.Claim{Namespace: "elsewhere", NamespaceUID: "here"}, false},
		{"an older release's", prefect.Claim{Namespace: "flows"}, true},
		{"an older release's, in another namespace", prefect.Claim{Namespace: "elsewhere"}, false},
		{"one that says nothing", prefect.Claim{}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.claim.IsIn("flows", "here"); got != tc.want {
				t.Errorf("IsIn = %v, want %v", got, tc.want)
			}
		})
	}
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func state(phase prefect.Phase, start time.Time) prefect.State {
	return prefect.State{Phase: phase, StartTime: start}
}

func TestClaimable(t *testing.T) {
	for _, tc := range []struct {
		name string
		run  prefect.FlowRun
		want bool
	}{
		{"scheduled and due", prefect.FlowRun{State: state(prefect.Waiting, noon), Due: noon}, true},
		{"scheduled ahead", prefect.FlowRun{State: state(prefect.Waiting, noon.Add(time.Second)), Due: noon.Add(time.Second)}, false},
		{"scheduled without a time", prefect.FlowRun{State: state(prefect.Waiting, time.Time{})}, true},
		{"held until a person lets it go on", prefect.FlowRun{State: state(prefect.Held, time.Time{})}, false},
		{"running, nothing to retry", prefect.FlowRun{State: state(prefect.Running, time.Time{})}, false},
		{"running with a due retry", prefect.FlowRun{State: state(prefect.Running, time.Time{}), JobFirst: true, Due: noon}, true},
		{"cancelling with a due retry", prefect.FlowRun{State: state(prefect.Cancelling, time.Time{}), JobFirst: true, Due: noon}, false},
		{"claimed", prefect.FlowRun{State: state(prefect.Claimed, time.Time{})}, false},
		{"finished", prefect.FlowRun{State: state(prefect.Finished, time.Time{})}, false},
		{"in a state that is not known", prefect.FlowRun{State: state(prefect.Other, noon), Due: noon}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.run.Claimable(noon); got != tc.want {
				t.Errorf("Claimable = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestPhases(t *testing.T) {
	for phase, want := range map[prefect.Phase]string{
		prefect.Other: "other", prefect.Waiting: "waiting, is waiting", prefect.Held: "held, is waiting", prefect.Claimed: "claimed",
		prefect.Running: "running, is running", prefect.Cancelling: "cancelling, is running",
		prefect.Finished: "finished, is finished", prefect.Cancelled: "cancelled, is finished",
	} {
		got := phase.String()
		for kind, is := range map[string]bool{"waiting": phase.IsWaiting(), "running": phase.IsRunning(), "finished": phase.IsFinished()} {
			if is {
				got += ", is " + kind
			}
		}
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
