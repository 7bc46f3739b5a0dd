package prefect3_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

// crowded is a stand-in with so many work pools and runs, due from first on, one each step.
func crowded(pools, runs int, first time.Time, step time.Duration) *fake.API {
	api := fake.New(fake.Options{})
	for n := range runs {
		api.CreateRuns(fake.Order{Pool: fmt.Sprint("pool-", n%pools), At: first.Add(time.Duration(n) * step)})
	}
	return api
}

// A look at 1,000 work pools with 10,000 runs reads a few pages: of runs that are due, as
// many as are wanted; of runs to come, those of the next half minute.
func BenchmarkObserve(b *testing.B) {
	for name, tc := range map[string]struct {
		first time.Duration
		step  time.Duration
	}{
		"10,000 runs to come": {time.Minute, time.Second / 10},
		"10,000 runs are due": {-time.Hour, time.Millisecond},
	} {
		b.Run(name, func(b *testing.B) {
			api := crowded(1000, 10_000, time.Now().Add(tc.first), tc.step)
			c := clientOf(b, api, prefect3.Options{})
			before := api.Counts()["requests"]
			for b.Loop() {
				if _, err := c.Observe(b.Context(), time.Now().Add(2*time.Minute)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(api.Counts()["requests"]-before)/float64(b.N), "requests/op")
		})
	}
}

// What a look at 10,000 due runs in 1,000 pools leaves in memory is small, and it reads at
// most five pages of them.
func TestObserveIsBounded(t *testing.T) {
	api := crowded(1000, 10_000, time.Now().Add(-time.Hour), time.Millisecond)
	c := clientOf(t, api, prefect3.Options{})
	if _, err := c.Claimed(t.Context(), prefect.Scope{}); err != nil { // the stand-in marks the runs late
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	o, err := c.Observe(t.Context(), time.Now().Add(time.Minute))
	runtime.GC()
	runtime.ReadMemStats(&after)
	if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); err != nil || len(o.Due) != 1000 || kept > 32<<20 {
		t.Errorf("%d runs, %d bytes are kept, %v", len(o.Due), kept, err)
	}
	if n := api.Counts()["POST /flow_runs/filter"]; n > 7 { // two of them are of claims
		t.Errorf("%d pages were read", n)
	}
	runtime.KeepAlive(c)
}

// Launching a run costs at most two and a half requests beside its claim.
func TestRequestsPerRun(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{})
		deployment := api.CreateDeployment(fake.Deployment{Pool: "k8s"})
		const runs = 200
		api.CreateRuns(fake.Order{Deployment: deployment, Count: runs, At: time.Now().Add(-5 * time.Second)})
		var lines []prefect.LogEntry
		for _, run := range dueRuns(t, c, 400) {
			if _, err := c.Inputs(t.Context(), run); err != nil {
				t.Fatal(err)
			}
			claim := claimOf("a", run)
			if r, err := c.Claim(t.Context(), run, claim); err != nil || r.Answer != prefect.Won {
				t.Fatalf("%+v, %v", r, err)
			}
			if err := c.Launched(t.Context(), run, claim); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, prefect.LogEntry{FlowRunID: run.ID, Name: "launcher", Level: prefect.Info, Message: "Submitted for execution"})
		}
		if err := c.Log(t.Context(), lines); err != nil {
			t.Fatal(err)
		}
		counts := api.Counts()
		beside := counts["requests"] - counts["POST /flow_runs/{id}/set_state"]
		if counts["POST /flow_runs/{id}/set_state"] != runs || float64(beside)/runs > 2.5 {
			t.Errorf("%d requests beside %d claims", beside, counts["POST /flow_runs/{id}/set_state"])
		}
	})
}
