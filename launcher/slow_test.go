package launcher

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3"
	prefect3fake "github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// cost is what launching runs took.
type cost struct {
	time     time.Duration
	requests float64 // a run
	cut      float64 // claims whose answer was given up
}

// slow is a Prefect that serves one request at a time.
type slow struct {
	backend func() (Backend, error)
	runs    []string
	counts  func() map[string]int
	states  func() map[string]int
}

// slowOne is a Prefect 1, which takes so long for each request.
func slowOne(runs int, each time.Duration) slow {
	api := prefecttest.New(prefecttest.Options{OneAtATime: each})
	return slow{
		func() (Backend, error) {
			return prefect1.New(prefect1.Options{API: "http://prefect", Backend: prefect1.Server, HTTPTransport: api.Transport()})
		},
		api.CreateRuns(prefecttest.Order{Count: runs}), api.Counts, api.States,
	}
}

// slowThree is a Prefect 3, which takes for each request what its route takes.
func slowThree(runs int, work func(route string) time.Duration) slow {
	api := prefect3fake.New(prefect3fake.Options{Work: work})
	deployment := api.CreateDeployment(prefect3fake.Deployment{Pool: "k8s"})
	return slow{
		func() (Backend, error) {
			return prefect3.New(prefect3.Options{API: "http://prefect/api", HTTPTransport: api.Transport()})
		},
		api.CreateRuns(prefect3fake.Order{Deployment: deployment, Count: runs, At: time.Now()}), api.Counts, api.States,
	}
}

// launchFrom has launchers launch all runs that a slow Prefect knows of.
func launchFrom(tb testing.TB, api slow, launchers int) cost {
	tb.Helper()
	ids, runs := api.runs, len(api.runs)
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
		backend, err := api.backend()
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
		tb.Errorf("after ten minutes the runs are %v", api.states())
	}
	c.time, c.requests = time.Since(began), float64(api.counts()["requests"])/float64(runs)
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
	skipLong(t)
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
				one := launchFrom(t, slowOne(tc.runs, tc.each), 1)
				got := launchFrom(t, slowOne(tc.runs, tc.each), tc.launchers)
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
	one := launchFrom(b, slowOne(b.N, each), 1)
	b.ResetTimer()
	two := launchFrom(b, slowOne(b.N, each), 2)
	b.StopTimer()
	b.ReportMetric(two.time.Seconds()/one.time.Seconds(), "x-one")
	b.ReportMetric(two.requests, "requests/run")
	b.ReportMetric(two.cut/float64(b.N), "cut/run")
}

// In a burst, claims go first: at a server that does one thing at a time, as a Prefect 3 on two
// cores nearly does, the last Job is there at three quarters of the rate of bare claims. What
// else there is to say to Prefect, two requests a run, is said after.
//
// If each launch tells of its Job itself it is 36 %, and if runs are read again after a second,
// as Prefect 1 needs it, 63 %.
func TestBurstAtASlowServerIsSpentOnClaims(t *testing.T) {
	const runs, claim = 150, 30 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		api := slowThree(runs, func(route string) time.Duration {
			switch {
			case strings.HasSuffix(route, "/set_state"):
				return claim
			case route == "POST /flow_runs/filter":
				return 5 * claim
			}
			return claim / 2
		})
		c := launchFrom(t, api, 1)
		bare := runs * claim
		t.Logf("%s, bare claims %s, %.2f requests a run until the last Job; in all %v", c.time, bare, c.requests, api.counts())
		if rate := bare.Seconds() / c.time.Seconds(); rate < 0.7 {
			t.Errorf("Jobs came at %.0f %% of the rate of bare claims, want 70", 100*rate)
		}
		if c.requests > 1.4 {
			t.Errorf("it took %.2f requests a run until the last Job, want at most 1.4", c.requests)
		}
		for _, told := range []string{"PATCH /flow_runs/{id}", "PATCH /flow_runs/{id}/labels"} {
			if n := api.counts()[told]; n != runs {
				t.Errorf("%d of %d runs got %s", n, runs, told)
			}
		}
	})
}
