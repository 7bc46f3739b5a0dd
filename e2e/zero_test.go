//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// The main job, with the real Prefect 1.4.1 client in the flow's pod.
func TestFlowRunsFromZero(t *testing.T) {
	e := suite.Install(t)
	flows := e.RegisterFlows()
	e.AssertReplicasStable(product.Launcher, 0, 3*time.Second)

	began := time.Now()
	runs := e.CreateRuns(prefecttest.Order{FlowID: flows["hello"]})
	job := e.WaitForJob(runs[0], time.Minute)
	e.WaitForState(runs, "Success", 2*time.Minute)
	succeeded := time.Since(began)
	e.AssertHistory(runs[0], "Scheduled", "Submitted", "Running", "Success")
	e.AssertOneJobEach(runs)
	e.AssertLogged(runs[0], "Submitted for execution: Job "+job.Name)

	ended := time.Now()
	e.WaitForZero(time.Minute)
	suite.Report.Measured(t, "run created → Success, from zero, real Prefect client", seconds(succeeded), "")
	suite.Report.Measured(t, "Success → no launcher (cooldown 5 s)", seconds(time.Since(ended)-3*time.Second), "")
}

// This measures how late a run begins that was not scheduled, when nothing is up. KEDA polls
// only every five minutes, so the scaler has to push.
func TestAdHocRunFromZero(t *testing.T) {
	e := suite.Install(t, framework.PushOnly())
	e.WaitForStream()
	var delays []time.Duration
	for range 5 {
		edges := e.Edges()
		began := time.Now()
		run := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods()})[0]
		delays = append(delays, e.WaitForJob(run, time.Minute).At.Sub(began))
		e.WaitForState([]string{run}, "Submitted", time.Minute)
		e.AssertPushedSince(edges)
		e.TakeDown(product.Launcher)
		e.WaitForZero(time.Minute)
	}
	slices.Sort(delays)
	suite.Report.Measured(t, "ad-hoc run created → Job created, from zero, p50 of 5", seconds(delays[2]), "≤ 2 s")
	suite.Report.Measured(t, "ad-hoc run created → Job created, from zero, worst of 5", seconds(delays[4]), "")
}

// A schedule is known ahead: a push wakes the launcher before, and the Job is created on time
// and never early.
func TestScheduledRunFromZeroIsOnTime(t *testing.T) {
	e := suite.Install(t, framework.PushOnly())
	e.WaitForStream()
	var worst time.Duration
	for range 5 {
		edges := e.Edges()
		// A little more than the warm-up lead of 10 s.
		run := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), In: prefecttest.Duration(13 * time.Second)})[0]
		due := e.Runs(run)[0].Due
		e.AssertReplicas(product.Launcher, 0)
		lateness := e.WaitForJob(run, time.Minute).At.Sub(due)
		switch {
		case lateness < 0:
			t.Errorf("the Job was created %s before its run was due", -lateness)
		case lateness > 5*time.Second:
			t.Errorf("the Job was created %s after its run was due", lateness)
		}
		worst = max(worst, lateness)
		e.WaitForState([]string{run}, "Submitted", time.Minute)
		e.AssertPushedSince(edges)
		e.TakeDown(product.Launcher)
	}
	suite.Report.Measured(t, "scheduled run due → Job created, from zero, worst of 5", seconds(worst), "≤ 0.2 s")
}

// This measures the memory that stays used when nothing is due, and the image on the node.
func TestFootprint(t *testing.T) {
	e := suite.Install(t)
	run := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Count: 20})
	e.WaitForJobs(run, time.Minute)
	e.WaitForZero(time.Minute)
	anonymous, working := e.MemoryOf(product.Scaler)
	suite.Report.Bounded(t, "scaler idle, resident memory of its own", float64(anonymous)/(1<<20), 20, "MiB")
	suite.Report.Bounded(t, "scaler idle, working set, as kubectl top shows it", float64(working)/(1<<20), 20, "MiB")
	// The working set includes pages of the binary, which processes on the node share and the
	// kernel may drop. So this is a bound and not a goal.
	suite.Report.Bounded(t, "scaler idle, resident as ps shows it", e.ScalerMetric("process_resident_memory_bytes")/(1<<20), 36, "MiB")
	// Of these, 1.6 MB are the table by which names of work pools become labels.
	suite.Report.Bounded(t, "image size", float64(suite.Images.Bytes)/1e6, 36, "MB")
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func rate(n int, d time.Duration) string { return fmt.Sprintf("%.0f/s", float64(n)/d.Seconds()) }
