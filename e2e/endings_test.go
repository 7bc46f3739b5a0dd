//go:build e2e

package e2e

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// A run ends as its flow does, with the real Prefect client, even if containers beside it
// fail, pods never began it, or the flow does not notice a cancel. The cases share one
// deployment, because each needs a minute or more.
func TestRunsEndAsTheirFlowsDo(t *testing.T) {
	t.Parallel()
	e := suite.Install(t,
		framework.Variable("PREFECT_KEDA_POD_GRACE", "10s", product.Launcher, product.Scaler),
		framework.Variable("PREFECT_KEDA_CANCEL_GRACE", "1m", product.Launcher, product.Scaler))
	flows := e.RegisterFlows()
	// With a flow's own seconds it is the real client that runs in the first container.
	one := func(seconds int, pod map[string]any, retries ...int) string {
		if pod["terminationGracePeriodSeconds"] == nil {
			pod["terminationGracePeriodSeconds"] = 1 // who is PID 1 does not hear of SIGTERM
		}
		spec := map[string]any{"template": map[string]any{"spec": pod}}
		for _, n := range retries {
			spec["backoffLimit"] = n
		}
		order := prefecttest.Order{RunConfig: inJob(e.Images.Flow, spec)}
		if seconds > 0 {
			order.FlowID, order.Parameters = flows["slow"], map[string]any{"seconds": seconds}
		}
		return e.CreateRuns(order)[0]
	}
	flow := map[string]any{"name": "flow"}
	script := func(name, script string) map[string]any {
		return map[string]any{"name": name, "image": e.Images.Flow, "command": []any{"sh", "-c", script}}
	}
	proxy := script("proxy", "sleep 3600")
	crashing := script("crashing", "sleep 3; exit 1") // its pauses are 10 s, 20 s, 40 s …
	crashing["restartPolicy"] = "Always"
	secretless := script("secretless", "")
	secretless["envFrom"] = []any{map[string]any{"secretRef": map[string]any{"name": "there-is-none"}}}
	// Python does not notice a cancel if SIGINT is ignored when it starts.
	deaf := map[string]any{"name": "flow", "command": []any{"sh", "-c", `trap "" INT; exec "$@"`, "--"}}
	greedy := map[string]any{"name": "flow", "resources": map[string]any{"requests": map[string]any{"cpu": "1000"}}}
	const words = `python3 -uc 'print("\n".join(["x" * 2000] * 60)); print("y" * 100000 + " the longest ends here"); raise ValueError("last words")' 2>&1`

	besideCrashing := one(50, map[string]any{"containers": []any{flow}, "initContainers": []any{crashing}})
	besideSecretless := one(20, map[string]any{"containers": []any{flow, secretless}})
	besideProxy := one(1, map[string]any{"containers": []any{flow, proxy}})
	killed := one(0, map[string]any{"containers": []any{script("flow", "sleep 3; exit 137"), proxy}})
	first := map[string]any{"containers": []any{flow}, "initContainers": []any{script("first", "sleep 20")}}
	evicted, replaced := one(1, maps.Clone(first), 0), one(1, maps.Clone(first))
	drained := one(900, map[string]any{"containers": []any{flow}, "terminationGracePeriodSeconds": 10})
	rejected := one(0, map[string]any{"containers": []any{greedy}, "nodeName": e.Node()})
	cancelled := one(900, map[string]any{"containers": []any{deaf}})
	wordy := one(0, map[string]any{"containers": []any{script("flow", words)}})

	e.Evict(evicted, "first")
	e.Evict(replaced, "first")
	for _, run := range []string{cancelled, drained} {
		e.AssertLogged(run, "Task 'wait': Starting task run")
	}
	e.Cancel(cancelled)
	e.Evict(drained, "flow")

	failed := []string{killed, wordy}
	e.WaitForState(failed, "Failed", time.Minute)
	for _, run := range failed {
		e.AssertMessage(run, "Kubernetes Error: pods ['"+e.JobsOf(run)[0].Name)
		e.WaitForJobGone(run, 3*time.Minute) // none is removed in its first two minutes
	}
	e.AssertLogged(killed, "Container 'flow' state: terminated\n\t\tExit Code:: 137")
	e.AssertLogged(killed, "Container 'proxy' state: running")
	e.AssertLogged(wordy, "yyy the longest ends here")
	e.AssertLogged(wordy, "ValueError: last words")

	e.WaitForState([]string{drained}, "Failed", time.Minute)
	e.AssertMessage(drained, "failed for this job")

	beside := []string{besideProxy, besideSecretless, besideCrashing}
	e.WaitForState(beside, "Success", 2*time.Minute)
	for _, run := range beside {
		e.AssertHistory(run, "Scheduled", "Submitted", "Running", "Success")
	}
	for run, container := range map[string]string{besideSecretless: "secretless", besideCrashing: "crashing"} {
		e.AssertLogged(run, "Kubernetes Error: container '"+container+"' of pod "+e.JobsOf(run)[0].Name)
	}
	for _, run := range []string{besideProxy, besideSecretless} {
		e.WaitForJobGone(run, 3*time.Minute) // though others of its pod go on
	}

	e.WaitForState([]string{evicted}, "Success", 2*time.Minute)
	e.AssertHistory(evicted, "Scheduled", "Submitted", "Scheduled", "Submitted", "Running", "Success")
	e.WaitForState([]string{replaced}, "Success", 2*time.Minute)

	e.WaitForState([]string{cancelled}, "Cancelled", 2*time.Minute)
	e.AssertHistory(cancelled, "Scheduled", "Submitted", "Running", "Cancelling", "Cancelled")
	e.AssertMessage(cancelled, "The flow did not end in 1m0s after it was cancelled, so its Job "+e.JobsOf(cancelled)[0].Name+" is stopped")
	e.WaitForJobGone(cancelled, 3*time.Minute)

	e.WaitForState([]string{rejected}, "Failed", 3*time.Minute)
	once := []string{"Scheduled", "Submitted"}
	e.AssertHistory(rejected, slices.Concat(once, once, once, once, []string{"Failed"})...)
	e.AssertMessage(rejected, "none began the flow, though the run was put back in the queue 3 times")
	e.AssertLogged(rejected, "OutOfcpu")
	for run, want := range map[string]int{evicted: 2, rejected: 4, besideCrashing: 1, besideSecretless: 1, besideProxy: 1, killed: 1, drained: 1, cancelled: 1, wordy: 1} {
		if got := e.JobsOf(run); len(got) != want {
			t.Errorf("flow run %s had the Jobs %v, want %d", run, got, want)
		}
	}
	e.WaitForZero(time.Minute)
}
