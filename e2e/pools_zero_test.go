//go:build e2e && pools

package e2e

import (
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/prefectapi"
	"github.com/prefect-keda/prefect-keda/e2e/product"
)

// The main job with the real Prefect 3: server, PostgreSQL, and the client in the flow's pod.
// The server asks for its auth string and for CSRF tokens.
func TestFlowOfAWorkPoolRunsFromZero(t *testing.T) {
	t.Parallel()
	e := suite.InstallForPools(t, nil)
	hello := e.Deploy(prefectapi.Deployment{})
	e.AssertReplicasStable(product.Launcher, 0, 3*time.Second)

	runs := e.CreateRuns(1, hello, prefectapi.Order{Parameters: map[string]any{"name": "zero"}})
	made := e.WaitForJob(runs[0], time.Minute)
	e.WaitForZero(2 * time.Minute)
	e.WaitForState(runs, 4*time.Minute, "Completed")
	e.AssertHistory(runs[0], "SCHEDULED", "PENDING", "RUNNING", "COMPLETED")
	e.AssertLogged(runs[0], "hello from a flow run to zero")
	e.AssertLogged(runs[0], made.Name)
	e.AssertOneJobEach(runs)

	run := e.Run(runs[0])
	if want := e.Flows + ":" + made.Name; run.InfrastructurePID != want {
		t.Errorf("the run's infrastructure is %q, want %q", run.InfrastructurePID, want)
	}
	if pool, err := e.Server.Pool(t.Context(), e.Pool); err != nil || pool.Status == nil || *pool.Status != "READY" {
		t.Errorf("the pool is not READY: %+v, %v", pool, err)
	}
	j, err := e.Client.BatchV1().Jobs(e.Flows).Get(t.Context(), made.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	assertByReference(t, j, "PREFECT_API_AUTH_STRING", product.AuthSecret)
}

// assertByReference fails unless a variable of a Job's first container comes from a Secret.
func assertByReference(t *testing.T, j *batchv1.Job, name, secret string) {
	t.Helper()
	for _, v := range j.Spec.Template.Spec.Containers[0].Env {
		if v.Name == name {
			if v.Value != "" || v.ValueFrom == nil || v.ValueFrom.SecretKeyRef == nil || v.ValueFrom.SecretKeyRef.Name != secret {
				t.Errorf("%s is not read from the Secret %s: %+v", name, secret, v)
			}
			return
		}
	}
	t.Errorf("the Job has no %s", name)
}

// This measures how late Jobs of a work pool are created when nothing is up: of runs that were not
// scheduled, of runs that were, which is known ahead, and of a burst. The cases share one
// installation, in which only a push wakes a launcher.
func TestJobsOfAWorkPoolFromZeroAreOnTime(t *testing.T) {
	e := suite.InstallForPools(t, nil, framework.PushOnly())
	e.WaitForStream()
	// The server makes its runs an hour ahead, and tells nobody.
	first := time.Now().Add(50 * time.Second).Truncate(time.Second)
	e.Deploy(prefectapi.Deployment{Name: "hourly", JobVariables: framework.Suspended(), Every: time.Hour, First: first})
	deployment := e.Deploy(prefectapi.Deployment{JobVariables: framework.Suspended()})

	var delays []time.Duration
	for range 3 {
		edges := e.Edges()
		began := time.Now()
		run := e.CreateRuns(1, deployment, prefectapi.Order{})[0]
		delays = append(delays, e.WaitForJob(run, time.Minute).At.Sub(began))
		e.AssertPushedSince(edges)
		// The scaler reads only now and then that a claimed run has got its Job.
		e.WaitForNoDemand(time.Minute)
		e.TakeDown(product.Launcher)
	}
	slices.Sort(delays)
	suite.Report.Measured(t, "Prefect 3: ad-hoc run created → Job created, from zero, p50 of 3", seconds(delays[1]), "≤ 2 s")
	suite.Report.Measured(t, "Prefect 3: ad-hoc run created → Job created, from zero, worst of 3", seconds(delays[2]), "")

	var worst time.Duration
	assertOnTime := func(run string, due time.Time) {
		t.Helper()
		late := e.WaitForJob(run, 2*time.Minute).At.Sub(due)
		switch {
		case late < 0:
			t.Errorf("the Job was created %s before its run was due", -late)
		case late > 5*time.Second:
			t.Errorf("the Job was created %s after its run was due", late)
		}
		worst = max(worst, late)
		e.WaitForNoDemand(time.Minute)
		e.TakeDown(product.Launcher)
	}
	assertOnTime(e.ScheduledFor(first), first)
	for range 2 {
		due := time.Now().Add(13 * time.Second) // a little more than the warm-up lead of 10 s
		run := e.CreateRuns(1, deployment, prefectapi.Order{At: due})[0]
		e.AssertReplicas(product.Launcher, 0)
		assertOnTime(run, due)
	}
	suite.Report.Measured(t, "Prefect 3: scheduled run due → Job created, from zero, worst of 3", seconds(worst), "≤ 0.2 s")

	due := time.Now().Add(20 * time.Second) // all at once
	burst := e.CreateRuns(200, deployment, prefectapi.Order{At: due})
	e.WaitForJobs(burst, 3*time.Minute)
	begin, end := e.JobsBetween(burst)
	suite.Report.Measured(t, "Prefect 3: burst of 200 runs, due → first Job", seconds(begin.Sub(due)), "")
	suite.Report.Measured(t, "Prefect 3: burst of 200 runs, Jobs per second once up (the server is the limit)", rate(len(burst)-1, end.Sub(begin)), "")
	e.WaitForState(burst, time.Minute, "Pending", "Submitting", "InfrastructurePending")
	for _, run := range burst {
		if made := e.JobsOf(run); len(made) != 1 {
			t.Errorf("flow run %s had %d Jobs, want exactly one: %v", run, len(made), made)
		}
	}
}

// When the server dies in a burst, launchers stay, and nothing is lost or done twice.
func TestPrefect3ServerRestartsInABurst(t *testing.T) {
	e := suite.InstallForPools(t, nil)
	deployment := e.Deploy(prefectapi.Deployment{JobVariables: framework.Suspended()})
	due := time.Now().Add(12 * time.Second)
	runs := e.CreateRuns(80, deployment, prefectapi.Order{At: due})
	e.WaitForJobCount(10, time.Minute)
	e.KillServer()
	e.AssertReplicasStable(product.Launcher, 1, 8*time.Second)
	e.WaitForServer()
	back := time.Now()
	e.WaitForJobs(runs, 2*time.Minute)
	t.Logf("measured: Prefect 3 server back → all Jobs created: %s", seconds(time.Since(back)))
	e.AssertOneJobEach(runs)
	e.WaitForZero(90 * time.Second)
}
