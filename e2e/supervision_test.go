//go:build e2e

package e2e

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// podGrace is longer than the cooldown, so that trouble after it needs a launcher from zero.
// It is also longer than Kubernetes takes to say why there is no pod.
func podGrace() framework.Change {
	return framework.Variable("PREFECT_KEDA_POD_GRACE", "45s", product.Launcher, product.Scaler)
}

// inJob is the run config of a run with a Job of its own.
func inJob(image string, spec map[string]any) map[string]any {
	config := framework.KubernetesRun(map[string]any{"apiVersion": "batch/v1", "kind": "Job", "spec": spec})
	config["image"] = image
	return config
}

// shell is the run config of a run whose pod runs a script in place of the
// flow; more is merged into the pod's spec.
func shell(image, script string, more map[string]any) map[string]any {
	pod := map[string]any{"containers": []any{map[string]any{"name": "flow", "command": []any{"sh", "-c", script}}}}
	maps.Copy(pod, more)
	return inJob(image, map[string]any{"template": map[string]any{"spec": pod}})
}

// A Job that gets into trouble after its launcher has gone wakes a launcher. It writes to the
// run's log and ends a run that cannot go on. Trouble that was reported wakes nobody again.
func TestJobsInTroubleAreSeenToFromZero(t *testing.T) {
	t.Parallel()
	e := suite.Install(t, podGrace())
	one := func(config map[string]any) string { return e.CreateRuns(prefecttest.Order{RunConfig: config})[0] }
	with := func(config map[string]any, key string, value any) map[string]any {
		config[key] = value
		return config
	}
	fails := one(shell(e.Images.Flow, "sleep 40; echo so far so good; echo last words; exit 3", nil))
	noImage := one(shell("localhost:1/there-is-none:1", "", nil))
	noNode := one(shell(e.Images.Flow, "", map[string]any{"nodeSelector": map[string]any{"there": "is-none"}}))
	noAccount := one(with(shell(e.Images.Flow, "", nil), "service_account_name", "nobody"))
	noVolume := one(shell(e.Images.Flow, "", map[string]any{
		"volumes": []any{map[string]any{"name": "v", "secret": map[string]any{"secretName": "there-is-none"}}},
		"containers": []any{map[string]any{
			"name": "flow", "volumeMounts": []any{map[string]any{"name": "v", "mountPath": "/v"}},
		}},
	}))
	noSecret := one(shell(e.Images.Flow, "", map[string]any{"containers": []any{map[string]any{
		"name": "flow", "envFrom": []any{map[string]any{"secretRef": map[string]any{"name": "there-is-none"}}},
	}}}))
	cancelled := one(shell(e.Images.Flow, "sleep 600", nil))
	all := []string{fails, noImage, noNode, noAccount, noVolume, noSecret, cancelled}
	e.WaitForJobs(all, time.Minute)
	e.WaitForState(all, "Submitted", time.Minute)
	e.Cancel(cancelled)
	e.WaitForZero(time.Minute)

	e.WaitForState([]string{fails, noImage, noSecret}, "Failed", 3*time.Minute)
	e.AssertMessage(fails, "Kubernetes Error: pods ['"+e.JobsOf(fails)[0].Name)
	e.AssertMessage(noImage, "Kubernetes Error: ")
	e.AssertMessage(noImage, "localhost:1/there-is-none:1")
	e.AssertMessage(noSecret, `Kubernetes Error: secret "there-is-none" not found`)
	for run, words := range map[string][]string{
		fails:     {" failed.\n\tContainer 'flow' state: terminated\n\t\tExit Code:: 3", "so far so good\nlast words"},
		noImage:   {"Event: 'Failed' on pod '"},
		noNode:    {"cannot be scheduled: 0/1 nodes are available", "Event: 'FailedScheduling' on pod '"},
		noAccount: {"no pod is created for Job ", `serviceaccount "nobody" not found`},
		noVolume:  {"does not start: MountVolume.SetUp failed", `secret "there-is-none" not found`},
	} {
		for _, w := range words {
			e.AssertLogged(run, w)
		}
	}
	for _, run := range []string{fails, noImage, noSecret, cancelled} {
		e.WaitForJobGone(run, 4*time.Minute)
	}
	// A run that waits for a node, an account or a volume may still get it. It is shown while
	// it waits, at zero too.
	e.WaitForState([]string{noNode, noAccount, noVolume}, "Submitted", time.Second)
	e.WaitForZero(time.Minute)
	for _, kind := range []string{"unschedulable", "no_pods", "unstarted"} {
		if n := e.ScalerMetric(`prefect_keda_scaler_runs_stuck{connection="default",kind="` + kind + `"}`); n != 1 {
			t.Errorf("%v runs are stuck by %s, want 1", n, kind)
		}
	}
	e.WaitForEvent(e.ScaledObject(product.Launcher), "PrefectRunsStuck", "PREFECT_KEDA_PENDING_TIMEOUT is not set", time.Minute)
	for _, run := range all {
		told := map[string]int{}
		for _, l := range e.Runs(run)[0].Logs {
			if told[l.Message]++; told[l.Message] > 1 && strings.HasPrefix(l.Message, "Event: ") {
				t.Errorf("flow run %s was told twice: %s", run, l.Message)
			}
		}
	}
	e.AssertOneJobEach(all)
}
