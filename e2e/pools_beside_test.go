//go:build e2e && pools

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/prefectapi"
	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/job"
)

// The real worker serves the same pool in the same namespace, with its observer. No run is
// launched twice, none is lost, and nobody touches the other's Jobs.
func TestRealWorkerBesideUsOnOnePool(t *testing.T) {
	t.Parallel()
	e := suite.InstallForPools(t, nil)
	e.StartWorker(e.Pool)
	suspended := e.Deploy(prefectapi.Deployment{JobVariables: framework.Suspended()})
	failing := e.Deploy(prefectapi.Deployment{Name: "failing", JobVariables: map[string]any{"command": "sh -c 'exit 3'"}})
	// The worker looks every ten seconds and takes runs up to ten seconds before they are due.
	// We do not, and see at once what is due.
	ahead := prefectapi.Order{At: time.Now().Add(25 * time.Second)}
	fails := slices.Concat(e.CreateRuns(1, failing, prefectapi.Order{}), e.CreateRuns(1, failing, ahead))
	runs := e.CreateRuns(20, suspended, ahead)
	for range 20 {
		runs = append(runs, e.CreateRuns(2, suspended, prefectapi.Order{})...)
		time.Sleep(time.Second)
	}
	all := append(runs, fails...)
	e.WaitForJobs(all, 3*time.Minute)
	e.WaitForState(fails, 3*time.Minute, "Crashed")
	e.AssertOneJobEach(all)

	ours, theirs := 0, 0
	for _, run := range runs {
		j, err := e.Client.BatchV1().Jobs(e.Flows).Get(t.Context(), e.JobsOf(run)[0].Name, metav1.GetOptions{})
		switch {
		case err != nil:
			t.Errorf("the Job of flow run %s: %v", run, err)
		case j.Labels[job.LabelAttempt] != "":
			ours++
		default:
			theirs++
		}
	}
	t.Logf("measured: of %d runs on one pool, we launched %d and the real worker %d", len(runs), ours, theirs)
	if ours == 0 || theirs == 0 {
		t.Errorf("we launched %d and the worker %d, so this shows nothing", ours, theirs)
	}
	e.WaitForState(runs, time.Second*30, "Pending", "Submitting", "InfrastructurePending")
	e.Eventually(time.Minute, "both are known to the pool", func(ctx context.Context) (string, bool) {
		names, err := e.Server.Workers(ctx, e.Pool)
		return fmt.Sprint(names, err), err == nil && len(names) == 2 && slices.Contains(names, framework.Worker)
	})
	// It has swept up a Job of ours, perhaps later than the rest.
	e.WaitForReplicas(product.Launcher, 0, 2*time.Minute)
}
