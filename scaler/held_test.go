package scaler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/scaler/page"
)

func heldRun(id, pool, why string) prefect.HeldRun {
	return prefect.HeldRun{ID: id, Place: prefect.Place{Pool: pool, Queue: "default"}, Why: why}
}

// Runs that Prefect holds back want no launcher, however many they are and however long it
// lasts, and they do at once when it ends.
func TestHeldRunsAreNoDemand(t *testing.T) {
	f := &fakeSource{}
	for i := range 7 {
		f.held = append(f.held, heldRun(fmt.Sprint("run-", i), "k8s", "the pool's limit of 2 is reached"))
	}
	f.held = append(f.held, heldRun("run-7", "gpu", "the work pool is paused"))
	inBubble(t, poolOptions(f), func(t *testing.T, s *Server) {
		for range 20 {
			pass(time.Minute)
			wantActive(t, s, false)
			wantActive(t, s, false, "workPools=k8s", "activationThreshold=3")
		}
		gauge := `
# HELP prefect_keda_scaler_runs_held Due runs that Prefect holds back, because of a pause or a limit; they wake no launcher.
# TYPE prefect_keda_scaler_runs_held gauge
prefect_keda_scaler_runs_held{connection="default"} 8
`
		if err := testutil.CollectAndCompare(newGauges(s.service), strings.NewReader(gauge), "prefect_keda_scaler_runs_held"); err != nil {
			t.Error(err)
		}
		rep := s.service.report(time.Now()).Connections[0]
		want := []page.Held{
			{Place: page.Place{WorkPool: "k8s", WorkQueue: "default"}, Why: "the pool's limit of 2 is reached", Runs: 7, FirstRuns: []string{"run-0", "run-1", "run-2", "run-3", "run-4"}},
			{Place: page.Place{WorkPool: "gpu", WorkQueue: "default"}, Why: "the work pool is paused", Runs: 1, FirstRuns: []string{"run-7"}},
		}
		if diff := cmp.Diff(want, rep.Held); diff != "" || rep.HeldRuns != 8 {
			t.Errorf("%d runs, -want +got:\n%s", rep.HeldRuns, diff)
		}
		if got := s.service.report(time.Now()).ScaledObjects[0].Untaken; got != "" {
			t.Errorf("nobody is to take them: %s", got)
		}

		f.change(func(f *fakeSource) {
			f.held = f.held[1:]
			f.due = []prefect.DueRun{pooled("run-0", time.Now().Add(-time.Hour), "k8s", "default")}
		})
		pass(time.Second)
		wantActive(t, s, true)
		wantActive(t, s, false, "workPools=gpu")
	})
}

// A run that was held back for an hour was not due for an hour.
func TestHeldRunIsDueSinceItIsFree(t *testing.T) {
	f := &fakeSource{held: []prefect.HeldRun{heldRun("r", "k8s", "the work pool is paused")}}
	inBubble(t, poolOptions(f), func(t *testing.T, s *Server) {
		open(t, s, func(stream *fakeStream) {
			pass(time.Minute)
			freed := time.Now()
			f.change(func(f *fakeSource) {
				f.held, f.due = nil, []prefect.DueRun{pooled("r", freed.Add(-time.Hour), "k8s", "default")}
			})
			pass(5 * time.Second)
			if got := stream.got(); len(got) != 1 || got[0].Sub(freed) > time.Second {
				t.Errorf("pushed at %v, want within a second of %v", got, freed)
			}
			p := s.service.pollers["default"]
			if due := p.current.Load().Groups[0].Due[0]; due.Before(freed) || due.After(freed.Add(time.Second)) {
				t.Errorf("due since %v, want since it is free, %v", due, freed)
			}
		})
	})
}

// A run that begins to be held back was not taken.
func TestHeldRunWasNotTaken(t *testing.T) {
	var seen takings
	seen.follow(prefect.Observation{Due: []prefect.DueRun{pooled("a", noon, "k8s", "q"), pooled("b", noon, "gpu", "q")}}, noon)
	got := seen.follow(prefect.Observation{Held: []prefect.HeldRun{heldRun("a", "k8s", "paused")}}, at(time.Second))
	want := []taken{{prefect.Place{Pool: "gpu", Queue: "q"}, at(time.Second)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// That runs are held back is said when it begins and now and then, with a reason, and not
// for each run that gets through meanwhile.
func TestHoldingIsSaidOnce(t *testing.T) {
	f := &fakeSource{}
	log := logged(t, poolOptions(f), func(t *testing.T, s *Server) {
		for i := range 30 { // one run after the other waits and gets through
			f.change(func(f *fakeSource) {
				f.held = []prefect.HeldRun{heldRun(fmt.Sprint("r", i), "k8s", "its limit of 1 is reached")}
			})
			pass(5 * time.Second)
			f.change(func(f *fakeSource) { f.held = nil })
			pass(3 * time.Second)
		}
		pass(5 * time.Minute)
	})
	for says, times := range map[string]int{
		`level=INFO msg="Prefect holds due runs back, and no launcher is wanted for them; /debug/demand lists them" connection=default count=1 flow_run=r0 place="work pool k8s, queue default" reason="its limit of 1 is reached"`: 1,
		"Prefect holds due runs back": 1,
		`level=INFO msg="Prefect holds no runs back any more" connection=default`: 1,
	} {
		if n := strings.Count(log, says); n != times {
			t.Errorf("said %d times: %s\n%s", n, says, log)
		}
	}
}
