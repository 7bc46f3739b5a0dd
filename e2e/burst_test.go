//go:build e2e

package e2e

import (
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// slowClaims make a burst long enough for events in the middle of it.
func slowClaims(delay time.Duration) prefecttest.Fault {
	return prefecttest.Fault{Operation: "set_flow_run_states", Delay: prefecttest.Duration(delay)}
}

// A burst brings two launchers for 200 runs at 100 each; they share the work and
// never launch a run twice.
func TestBurstIsSharedByTwoLaunchers(t *testing.T) {
	t.Parallel()
	e := suite.Install(t)
	e.Break(slowClaims(2500 * time.Millisecond))
	began := time.Now()
	runs := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Count: 200})
	e.WaitForReplicas(product.Launcher, 2, time.Minute)
	t.Logf("measured: second launcher ready after %s, %d Jobs by then", seconds(time.Since(began)), e.JobCount())
	// Once claims are quick, the first launcher may need no help any more.
	for ready := time.Now(); len(e.Claimants(runs)) < 2; time.Sleep(time.Second) {
		if time.Since(ready) > time.Minute {
			t.Fatalf("only %v claimed runs, want both launchers", e.Claimants(runs))
		}
	}
	e.Mend()
	e.WaitForJobs(runs, time.Minute)
	e.WaitForState(runs, "Submitted", time.Minute)
	e.WaitForZero(90 * time.Second)
	e.AssertOneJobEach(runs)
}

// This measures how long one launcher takes for 200 runs, with an API that answers at once.
func TestBurstOfOneLauncher(t *testing.T) {
	e := suite.Install(t)
	began := time.Now()
	runs := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Count: 200})
	e.WaitForJob(runs[0], time.Minute)
	e.WaitForJobs(runs, 2*time.Minute)
	first, last := e.JobsBetween(runs)
	suite.Report.Measured(t, "burst of 200 runs, first due → last Job, from zero", seconds(last.Sub(began)), "")
	suite.Report.Measured(t, "burst of 200 runs, Jobs per second once up", rate(len(runs)-1, last.Sub(first)), "")
	e.WaitForState(runs, "Submitted", time.Minute)
	e.AssertOneJobEach(runs)
}

// One launcher has to leave and one dies, both with claims in flight. Every run gets its Job,
// and no run gets two.
func TestLaunchersThatDieInABurstLoseNothing(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*framework.Env, string){
		"SIGTERM": (*framework.Env).Stop,
		"SIGKILL": (*framework.Env).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := suite.Install(t)
			e.Break(slowClaims(300 * time.Millisecond))
			runs := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Count: 150})
			for _, after := range []int{10, 60} {
				e.WaitForJobCount(after, 2*time.Minute)
				for _, p := range e.Pods(product.Launcher) {
					if p.DeletionTimestamp == nil {
						end(e, p.Name)
					}
				}
			}
			e.WaitForJobs(runs, 2*time.Minute)
			e.WaitForState(runs, "Submitted", time.Minute)
			e.Mend()
			e.WaitForZero(90 * time.Second)
			e.AssertOneJobEach(runs)
		})
	}
}
