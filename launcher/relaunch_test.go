package launcher

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/job"
)

func TestAllDueTasksOfARunAreClaimed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := run("r")
		for i, task := range []string{"c", "a", "b"} {
			r = r.retrying(task, 4, time.Now().Add(-time.Duration(i)*time.Minute))
		}
		m := newMemory(r)
		b := start(t, m)
		time.Sleep(2 * time.Second)
		b.stop()
		if left := tasksOf(m.get("r")); len(left) > 0 {
			t.Errorf("not claimed: %v; a look brings the first task only", left)
		}
		var attempts []string
		for _, j := range b.jobs() {
			attempts = append(attempts, j.Labels[job.LabelAttempt])
		}
		if diff := cmp.Diff([]string{"retry-b-v4"}, attempts); diff != "" {
			t.Errorf("Jobs by attempt (-want +got):\n%s", diff)
		}
	})
}

// A slow server takes more time for all of a mapped task's retries than a claim may
// be old. Each batch has its own read and its own bound.
func TestRetriesOfAMappedTaskAreClaimedBatchByBatch(t *testing.T) {
	mapped := func(n int) *memory {
		r := run("r")
		for i := range n {
			r = r.retrying(fmt.Sprintf("t-%04d", i), 4, time.Now().Add(-time.Minute))
		}
		m := newMemory(r)
		m.latency = 800 * time.Millisecond
		return m
	}
	for name, tc := range map[string]struct {
		lost         int // the answer to this claim, which is carried out
		refused      int // this claim
		away         int // the API takes no claims from this one on
		stopped      int // at this read the launcher is stopped
		left, claims int
	}{
		"all are won":                {claims: 12},
		"the answer to one is lost":  {lost: 5, claims: 12},
		"one is refused, as Cloud's": {refused: 5, left: 800, claims: 5},
		"none is taken any more":     {away: 5, left: 800, claims: 5},
		"the launcher is stopped":    {stopped: 3, left: 900, claims: 3},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m, claimed := mapped(1200), 0
				var read time.Time
				reads, stop := 0, make(chan struct{})
				m.fault = func(op, _ string, written bool) error {
					switch {
					case op == "read":
						read = time.Now()
						if reads++; reads == tc.stopped {
							close(stop)
						}
					case op == "claim" && !written:
						claimed++
						if since := time.Since(read); since > claims.SendWithin {
							t.Errorf("claim %d is sent %s after the read", claimed, since)
						}
						switch {
						case claimed == tc.refused:
							return throttled(time.Hour)
						case tc.away > 0 && claimed >= tc.away:
							return errLost
						}
					case op == "claim" && claimed == tc.lost:
						return errLost
					}
					return nil
				}
				b := start(t, m)
				select {
				case <-stop:
				case <-time.After(time.Minute):
				}
				b.stop()
				if left := tasksOf(m.get("r")); len(left) != tc.left || claimed != tc.claims {
					t.Errorf("%d tasks are not claimed after %d claims, want %d after %d", len(left), claimed, tc.left, tc.claims)
				}
				if jobs := b.jobs(); len(jobs) != 1 {
					t.Errorf("%d Jobs, want 1", len(jobs))
				}
			})
		})
	}
}

// From the claim of its tasks on nothing keeps Prefect from rescheduling a run
// that gave no sign of life while its task waited.
func TestRelaunchedRunGivesASignOfLifeBeforeItsTasksAreClaimed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		note := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, what)
		}
		m := newMemory(run("r").retrying("t", 4, time.Now()))
		m.fault = func(op, _ string, written bool) error {
			if op == "heartbeat" || op == "claim" && !written {
				note(op)
			}
			return nil
		}
		b := start(t, m, func(_ *Options, client *fake.Clientset) {
			refusing(client, func(string) error { note("create"); return nil })
		})
		time.Sleep(5 * time.Second)
		b.stop()
		if diff := cmp.Diff([]string{"create", "heartbeat", "claim"}, order); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}
