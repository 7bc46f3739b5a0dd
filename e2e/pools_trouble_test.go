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

// Trouble of a work pool's runs is seen to after their launcher has gone. Those are Crashed whose
// image cannot be pulled for longer than the grace, whose container runs out of memory, and whose
// Job somebody deletes while SIGTERM means death to them. A flow that runs out of memory under
// Prefect's own runner is Crashed by that. By default a flow whose Job is deleted asks to be run
// again, as with a worker.
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
	greedyImage := one("hello", map[string]any{"memory_limit": "32Mi", "command": "python3 -c 'b\"x\" * 10**9'"}, nil)
	mortal := one("slow", map[string]any{"env": map[string]any{"PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "die"}}, map[string]any{"seconds": 900})
	moved := one("slow", nil, map[string]any{"seconds": 900})
	all := []string{noImage, greedy, greedyImage, mortal, moved}
	e.WaitForJobs(all, time.Minute)
	e.WaitForState([]string{noImage, greedyImage, greedy}, 4*time.Minute, "Crashed")
	e.AssertMessage(noImage, "localhost:1/there-is-none:1")
	e.AssertMessage(greedyImage, "OOMKilled")

	e.WaitForState([]string{mortal, moved}, 4*time.Minute, "Running")
	e.WaitForReplicas(product.Launcher, 0, 2*time.Minute)
	name := e.JobsOf(mortal)[0].Name
	e.DeleteJob(e.JobsOf(moved)[0].Name)
	e.DeleteJob(name)
	gone := time.Now()
	e.WaitForState([]string{mortal}, 4*time.Minute, "Crashed")
	t.Logf("measured: Job deleted → its run Crashed, from zero: %s", seconds(time.Since(gone)))
	e.AssertMessage(mortal, name)
	for _, run := range []string{noImage, greedy, greedyImage, mortal} {
		if made := e.JobsOf(run); len(made) != 1 {
			t.Errorf("flow run %s had the Jobs %v", run, made)
		}
	}
	e.Eventually(2*time.Minute, "the run whose Job was deleted has another one", func(context.Context) (string, bool) {
		made := e.JobsOf(moved)
		return fmt.Sprint(made), len(made) == 2
	})
	e.WaitForState([]string{moved}, 2*time.Minute, "Running")
	e.AssertHistory(moved, "SCHEDULED", "PENDING", "RUNNING", "SCHEDULED", "PENDING", "RUNNING")
	e.WaitForReplicas(product.Launcher, 0, 2*time.Minute)
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
	e.WaitForJobGone(run[0], 3*time.Minute)
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
