//go:build e2e && pools

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/prefectapi"
	"github.com/prefect-keda/prefect-keda/e2e/product"
)

// Trouble of a work pool's runs is seen to after their launcher has gone: one that runs out of
// memory and one whose Job somebody deletes are Crashed, and so is one whose image cannot be pulled
// for longer than the grace.
func TestTroubleInAWorkPoolIsSeenToFromZero(t *testing.T) {
	t.Parallel()
	e := suite.InstallForPools(t, nil, framework.Variable("PREFECT_KEDA_POD_GRACE", "20s", product.Launcher, product.Scaler))
	one := func(flow string, variables map[string]any, parameters map[string]any) string {
		t.Helper()
		deployment := e.Deploy(prefectapi.Deployment{Flow: flow, Name: fmt.Sprint(flow, " ", len(variables)), JobVariables: variables})
		return e.CreateRuns(1, deployment, prefectapi.Order{Parameters: parameters})[0]
	}
	noImage := one("hello", map[string]any{"image": "localhost:1/there-is-none:1"}, nil)
	greedy := one("greedy", map[string]any{"memory_limit": "256Mi"}, nil)
	deleted := one("slow", nil, map[string]any{"seconds": 900})
	all := []string{noImage, greedy, deleted}
	e.WaitForJobs(all, time.Minute)
	e.WaitForState([]string{noImage}, 2*time.Minute, "Crashed")
	e.AssertMessage(noImage, "localhost:1/there-is-none:1")

	e.WaitForState([]string{deleted}, 4*time.Minute, "Running")
	e.WaitForZero(2 * time.Minute)
	e.DeleteJob(e.JobsOf(deleted)[0].Name)
	gone := time.Now()
	e.WaitForState([]string{deleted}, 4*time.Minute, "Crashed")
	t.Logf("measured: Job deleted → its run Crashed, from zero: %s", seconds(time.Since(gone)))
	e.AssertMessage(deleted, e.JobsOf(deleted)[0].Name)

	e.WaitForState([]string{greedy}, 4*time.Minute, "Crashed")
	e.AssertMessage(greedy, "OOMKilled")
	e.AssertOneJobEach(all)
	e.WaitForZero(2 * time.Minute)
}

// A run that is cancelled while its pod cannot start is Cancelled at once, from zero.
func TestCancelOfAWorkPoolsRunThatWaits(t *testing.T) {
	t.Parallel()
	e := suite.InstallForPools(t, nil)
	deployment := e.Deploy(prefectapi.Deployment{JobVariables: map[string]any{"image": "localhost:1/there-is-none:1"}})
	run := e.CreateRuns(1, deployment, prefectapi.Order{})
	e.WaitForJob(run[0], time.Minute)
	e.WaitForZero(2 * time.Minute)
	cancelled := time.Now()
	e.Cancel(run[0])
	e.WaitForState(run, time.Minute, "Cancelled")
	t.Logf("measured: cancelled → Cancelled, of a run whose image cannot be pulled, from zero: %s", seconds(time.Since(cancelled)))
	e.WaitForJobGone(run[0], time.Minute)
	e.AssertOneJobEach(run)
	e.WaitForZero(2 * time.Minute)
}

// A launcher that dies by SIGKILL between claim and Job leaves a run that is Pending in Prefect
// and nowhere else: the next launcher finishes the claim, and nobody claims it again.
func TestLauncherIsKilledBetweenClaimAndJob(t *testing.T) {
	t.Parallel()
	e := suite.InstallForPools(t, nil)
	deployment := e.Deploy(prefectapi.Deployment{JobVariables: framework.Suspended()})
	release := e.HoldJobs()
	run := e.CreateRuns(1, deployment, prefectapi.Order{})
	e.WaitForState(run, time.Minute, "Pending")
	if made := e.JobsOf(run[0]); len(made) > 0 {
		t.Fatalf("there is a Job already: %v", made)
	}
	release()
	for _, p := range e.Pods(product.Launcher) {
		e.Kill(p.Name)
	}
	e.Eventually(2*time.Minute, "the run gets a Job", func(ctx context.Context) (string, bool) {
		r, err := e.Server.Run(ctx, run[0])
		return fmt.Sprintf("%+v, %v", r, err), len(e.JobsOf(run[0])) > 0
	})
	e.Eventually(time.Minute, "the run's infrastructure is its Job", func(ctx context.Context) (string, bool) {
		r, err := e.Server.Run(ctx, run[0])
		return fmt.Sprint(r.InfrastructurePID, err), r.InfrastructurePID == e.Flows+":"+e.JobsOf(run[0])[0].Name
	})
	states, err := e.Server.States(t.Context(), run[0])
	if err != nil {
		t.Fatal(err)
	}
	claims := 0
	for _, s := range states {
		if s.Name == "Pending" {
			claims++
		}
	}
	if claims != 1 {
		t.Errorf("the run was claimed %d times: %+v", claims, states)
	}
	e.AssertOneJobEach(run)
	e.WaitForZero(2 * time.Minute)
}
