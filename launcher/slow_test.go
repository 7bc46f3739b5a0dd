package launcher

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// cost is what launching runs took.
type cost struct {
	time     time.Duration
	requests float64 // a run
	cut      float64 // claims whose answer was given up
}

// launchFromASlowServer has launchers launch so many runs, which a Prefect that
// serves one request at a time knows of.
func launchFromASlowServer(tb testing.TB, launchers, runs int, each time.Duration) cost {
	tb.Helper()
	api := prefecttest.New(prefecttest.Options{OneAtATime: each})
	ids := api.CreateRuns(prefecttest.Order{Count: runs})
	client := plainCluster()
	var mu sync.Mutex
	asked, all := map[string]bool{}, make(chan struct{})
	refusing(client, func(run string) error {
		mu.Lock()
		defer mu.Unlock()
		if !asked[run] && len(asked) == runs-1 {
			close(all)
		}
		asked[run] = true
		return nil
	})
	ctx, stop := context.WithCancel(tb.Context())
	defer stop()
	var c cost
	var working sync.WaitGroup
	began := time.Now()
	for i := range launchers {
		backend, err := prefect1.New(prefect1.Options{API: "http://prefect", Backend: prefect1.Server, HTTPTransport: api.Transport()})
		if err != nil {
			tb.Fatal(err)
		}
		o := options(fmt.Sprintf("launcher-%d", i))
		o.Jitter = nil // they do not stay in step
		l, err := New(o, backend, template{}, kubernetes(client))
		if err != nil {
			tb.Fatal(err)
		}
		working.Go(func() {
			if err := l.Run(ctx); err != nil {
				tb.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			c.cut += counter(tb, l.metrics.claims.WithLabelValues(prefect.Unknown.String()))
		})
	}
	select {
	case <-all:
	case <-time.After(10 * time.Minute):
		tb.Errorf("after ten minutes the runs are %v", api.States())
	}
	c.time, c.requests = time.Since(began), float64(api.Counts()["requests"])/float64(runs)
	stop()
	working.Wait()
	// Who was answered late may ask for a Job that is there; what counts is what
	// Kubernetes has.
	want := map[string]int{}
	for _, id := range ids {
		want[id] = 1
	}
	if diff := cmp.Diff(want, jobsByRun(tb, client)); diff != "" {
		tb.Errorf("Jobs created by run (-want +got):\n%s", diff)
	}
	return c
}

// Launchers that share a server which does one thing at a time neither give up claims
// that it goes on to apply nor ask for much more than they claim.
func TestLaunchersShareASlowServer(t *testing.T) {
	for _, tc := range []struct {
		launchers int
		each      time.Duration
		runs      int
		most      float64 // requests a run
		longer    float64 // than one launcher takes, at most
	}{
		{2, 20 * time.Millisecond, 100, 2, 2},
		{2, 200 * time.Millisecond, 300, 3.3, 2},
		{10, 200 * time.Millisecond, 100, 7, 4}, // many times more than it can bear
	} {
		t.Run(fmt.Sprintf("%d launchers, %s a request", tc.launchers, tc.each), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one := launchFromASlowServer(t, 1, tc.runs, tc.each)
				got := launchFromASlowServer(t, tc.launchers, tc.runs, tc.each)
				time.Sleep(time.Minute) // the server finishes requests that nobody awaits any more
				t.Logf("%s, %.2f requests a run; one launcher %s, %.2f", got.time, got.requests, one.time, one.requests)
				if cut := one.cut + got.cut; cut > 0 {
					t.Errorf("%v claims were cut", cut)
				}
				if one.requests > tc.most || got.requests > tc.most {
					t.Errorf("%.2f requests a run, one launcher %.2f, want at most %v", got.requests, one.requests, tc.most)
				}
				if longer := got.time.Seconds() / one.time.Seconds(); longer > tc.longer {
					t.Errorf("it takes %.1f times as long as one launcher, want at most %v", longer, tc.longer)
				}
			})
		})
	}
}

// BenchmarkSlowServer is the time that two launchers take for the runs of a server
// which does one thing at a time, as a multiple of what one takes, and what they ask
// it for.
func BenchmarkSlowServer(b *testing.B) {
	const each = 20 * time.Millisecond
	one := launchFromASlowServer(b, 1, b.N, each)
	b.ResetTimer()
	two := launchFromASlowServer(b, 2, b.N, each)
	b.StopTimer()
	b.ReportMetric(two.time.Seconds()/one.time.Seconds(), "x-one")
	b.ReportMetric(two.requests, "requests/run")
	b.ReportMetric(two.cut/float64(b.N), "cut/run")
}
