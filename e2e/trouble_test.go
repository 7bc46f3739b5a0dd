//go:build e2e

package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// A scaler that restarts in the middle of a burst, after any kind of end, scales nothing to
// zero and forgets nothing.
func TestScalerRestartsMidway(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]func(*framework.Env){
		"SIGKILL": (*framework.Env).KillScaler,
		"SIGTERM": (*framework.Env).StopScaler,
		"rollout": (*framework.Env).RollScaler,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := suite.Install(t, framework.PushOnly())
			e.WaitForStream()
			e.Break(slowClaims(time.Second))
			// Too few for a second launcher.
			runs := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Count: 80})
			e.WaitForJobCount(20, time.Minute)
			restart(e)
			e.AssertReplicas(product.Launcher, 1)
			runs = append(runs, e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Count: 10})...)
			e.WaitForJobs(runs, 2*time.Minute)
			e.Mend()
			e.WaitForState(runs, "Submitted", time.Minute)
			e.TakeDown(product.Launcher)
			e.WaitForZero(time.Minute)

			// From zero, the new scaler wakes a launcher as the old one did: by a push.
			edges := e.Edges()
			late := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods()})
			e.WaitForJobs(late, time.Minute)
			e.AssertPushedSince(edges)
			e.AssertOneJobEach(append(runs, late...))
		})
	}
}

// Without KEDA nothing is scaled: a launcher that is up does its work and stays, and without
// one, due runs wait until KEDA is back.
func TestKEDAIsAway(t *testing.T) {
	e := suite.Install(t)
	e.Break(slowClaims(time.Second))
	runs := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Count: 40})
	e.WaitForJobCount(5, time.Minute)
	suite.StopKEDA(t)
	e.Mend()
	e.WaitForJobs(runs, time.Minute)
	e.WaitForState(runs, "Submitted", time.Minute)
	e.AssertReplicasStable(product.Launcher, 1, 10*time.Second)

	e.TakeDown(product.Launcher)
	late := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods()})
	e.AssertReplicasStable(product.Launcher, 0, 5*time.Second)
	back := time.Now()
	suite.StartKEDA(t)
	e.WaitForJobs(late, 2*time.Minute)
	t.Logf("measured: KEDA started again → it is ready and the Job is created: %s", seconds(time.Since(back)))
	e.AssertOneJobEach(append(runs, late...))
	e.WaitForZero(time.Minute)
}

// An error does not mean "nothing is due": while the Prefect API is away, in any way,
// launchers stay; when it is back, they launch the runs that waited.
func TestPrefectIsAwayForAMinute(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(*framework.Env){
		"answers 503":         func(e *framework.Env) { e.Break(prefecttest.Fault{Status: http.StatusServiceUnavailable}) },
		"refuses connections": (*framework.Env).RefuseConnections,
		"hangs": func(e *framework.Env) {
			e.Break(prefecttest.Fault{Delay: prefecttest.Duration(time.Hour), Status: http.StatusGatewayTimeout})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := suite.Install(t)
			e.Break(slowClaims(time.Second))
			runs := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Count: 60})
			e.WaitForJobCount(5, time.Minute)
			e.Mend()
			away(e)
			// Created behind its back: the levers still work.
			runs = append(runs, e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Count: 10})...)
			e.AssertReplicasStable(product.Launcher, 1, time.Minute)
			e.AcceptConnections()
			back := time.Now()
			e.WaitForJobs(runs, 2*time.Minute)
			t.Logf("measured: Prefect API back → all Jobs created: %s", seconds(time.Since(back)))
			e.WaitForState(runs, "Submitted", time.Minute)
			e.AssertOneJobEach(runs)
			e.WaitForZero(time.Minute)
		})
	}
}

// When Prefect is away for longer than the scaler uses its last answer, KEDA gets errors, and
// leaves everything as it is.
func TestPrefectIsAwayForLongerThanAnswersAreKept(t *testing.T) {
	t.Parallel()
	e := suite.Install(t, framework.Variable("PREFECT_KEDA_MAX_STALENESS", "20s", product.Scaler))
	e.Break(slowClaims(time.Second))
	runs := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Count: 60})
	e.WaitForJobCount(5, time.Minute)
	e.Mend()
	e.Break(prefecttest.Fault{Status: http.StatusServiceUnavailable})
	refused := e.WaitForRefusedAnswers(0, time.Minute)
	// Longer than the cooldown and the HPA's stabilization window.
	e.AssertReplicasStable(product.Launcher, 1, 20*time.Second)
	e.WaitForRefusedAnswers(refused, 10*time.Second)
	e.Mend()
	e.WaitForJobs(runs, 2*time.Minute)
	e.WaitForState(runs, "Submitted", time.Minute)
	e.AssertOneJobEach(runs)
	e.WaitForZero(time.Minute)
}

// Without KEDA nobody takes an idle launcher away: it leaves by itself, with exit code 0.
func TestIdleLauncherLeavesByItself(t *testing.T) {
	t.Parallel()
	e := suite.Install(t, framework.Variable("PREFECT_KEDA_IDLE_TIMEOUT", "8s", product.Launcher))
	e.Pause(product.Launcher, 1)
	e.WaitForReplicas(product.Launcher, 1, time.Minute)
	end := e.WaitForContainerEnd(product.Launcher, time.Minute)
	if end.ExitCode != 0 {
		t.Errorf("the idle launcher ended with exit code %d (%s), want 0: %s", end.ExitCode, end.Reason, end.Message)
	}
	idle := end.FinishedAt.Sub(end.StartedAt.Time)
	t.Logf("measured: an idle launcher with an idle timeout of 8 s ran for %s", idle)
	e.Resume(product.Launcher)
	e.WaitForZero(time.Minute)
}

// A mistake of a run's author fails that run, with words for the author, and holds up no
// other.
func TestBrokenTemplateFailsItsRunOnly(t *testing.T) {
	t.Parallel()
	e := suite.Install(t)
	notAJob := e.CreateRuns(prefecttest.Order{RunConfig: framework.KubernetesRun(map[string]any{"apiVersion": "batch/v1", "kind": "CronJob"})})
	badField := e.CreateRuns(prefecttest.Order{RunConfig: framework.KubernetesRun(map[string]any{
		"apiVersion": "batch/v1", "kind": "Job",
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "Flow_1"}}}}},
	})})
	good := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Count: 10})
	e.WaitForState(append(notAJob, badField...), "Failed", time.Minute)
	e.WaitForState(good, "Submitted", time.Minute)
	for run, word := range map[string]string{notAJob[0]: "CronJob", badField[0]: "Flow_1"} {
		r := e.Runs(run)[0]
		t.Logf("the author of flow run %s reads: %s", run, r.Message)
		e.AssertMessage(run, word)
		e.AssertLogged(run, word)
		if jobs := e.JobsOf(run); len(jobs) != 0 {
			t.Errorf("flow run %s has a Job: %v", run, jobs)
		}
	}
	e.AssertOneJobEach(good)
	e.WaitForZero(time.Minute)
}

// One scaler serves two launchers with labels of their own: each scales for its
// runs and for no others.
func TestTwoLabelSetsScaleOnTheirOwn(t *testing.T) {
	t.Parallel()
	const gpu = "prefect-keda-launcher-gpu"
	e := suite.Install(t, framework.AnotherLauncher(gpu, "['gpu', 'prod']"), framework.Cooldown(8))
	labelled := func(labels ...any) map[string]any {
		config := framework.NoPods()
		config["labels"] = labels
		return config
	}

	plain := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Count: 3})
	e.WaitForJobs(plain, time.Minute)
	e.AssertReplicas(gpu, 0)

	gpuRuns := e.CreateRuns(prefecttest.Order{RunConfig: labelled("gpu"), Labels: []string{"gpu"}, Count: 3})
	e.WaitForReplicas(product.Launcher, 0, time.Minute)
	e.WaitForJobs(gpuRuns, time.Minute)
	e.WaitForReplicas(gpu, 0, time.Minute)

	// Labels that nobody serves wake nobody.
	e.CreateRuns(prefecttest.Order{RunConfig: labelled("gpu", "eu"), Labels: []string{"gpu", "eu"}})
	e.AssertReplicasStable(product.Launcher, 0, 4*time.Second)
	e.AssertReplicasStable(gpu, 0, 4*time.Second)
	e.AssertOneJobEach(append(plain, gpuRuns...))
}
