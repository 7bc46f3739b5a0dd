//go:build e2e && pools

package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/prefectapi"
	"github.com/prefect-keda/prefect-keda/e2e/product"
)

// Runs that a pool's limit, a paused queue or a deployment's limit holds back are due, and yet no
// launcher is up for them. One comes when a slot is free or the queue goes on.
func TestWhatPrefectHoldsBackWakesNobody(t *testing.T) {
	t.Parallel()
	const limited, queue = "-limited", "paused"
	e := suite.InstallForPools(t, []string{limited})
	suspended := framework.Suspended()
	if err := e.Server.LimitPool(t.Context(), e.Pool+limited, 2); err != nil {
		t.Fatal(err)
	}
	if err := e.Server.CreateQueue(t.Context(), e.Pool, queue); err != nil {
		t.Fatal(err)
	}
	if err := e.Server.PauseQueue(t.Context(), e.Pool, queue, true); err != nil {
		t.Fatal(err)
	}
	ofPool := e.CreateRuns(4, e.Deploy(prefectapi.Deployment{Name: "limited pool", Pool: e.Pool + limited, JobVariables: suspended}), prefectapi.Order{})
	ofQueue := e.CreateRuns(2, e.Deploy(prefectapi.Deployment{Name: "paused queue", Queue: queue, JobVariables: suspended}), prefectapi.Order{})
	one := e.CreateRuns(3, e.Deploy(prefectapi.Deployment{Name: "one at a time", Limit: 1, JobVariables: suspended}), prefectapi.Order{})
	all := slices.Concat(ofPool, ofQueue, one)
	launched := func(runs []string) (with, without []string) {
		for _, run := range runs {
			if len(e.JobsOf(run)) > 0 {
				with = append(with, run)
			} else {
				without = append(without, run)
			}
		}
		return with, without
	}
	assertLaunched := func(pool, queue, deployment int) {
		t.Helper()
		for _, tc := range []struct {
			what string
			runs []string
			want int
		}{{"limited pool", ofPool, pool}, {"paused queue", ofQueue, queue}, {"deployment of one at a time", one, deployment}} {
			if with, _ := launched(tc.runs); len(with) != tc.want {
				t.Errorf("%d runs of the %s have a Job, want %d", len(with), tc.what, tc.want)
			}
		}
	}

	e.WaitForJobCount(3, 2*time.Minute)
	e.WaitForZero(2 * time.Minute)
	// Prefect makes runs that wait for a deployment's slot due again every 30 s.
	e.AssertReplicasStable(product.Launcher, 0, 35*time.Second)
	assertLaunched(2, 0, 1)

	for _, runs := range [][]string{ofPool, one} {
		with, _ := launched(runs)
		e.Complete(with[0])
	}
	if err := e.Server.PauseQueue(t.Context(), e.Pool, queue, false); err != nil {
		t.Fatal(err)
	}
	e.WaitForJobCount(7, 2*time.Minute)
	e.WaitForZero(2 * time.Minute)
	assertLaunched(3, 2, 2)
	with, _ := launched(all)
	e.AssertOneJobEach(with)
}
