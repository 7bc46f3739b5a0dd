//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// Real KEDA and the scaler know each other by their certificates: it polls, it
// listens, and it scales from zero and back. A flow cannot have the host.
func TestHardenedOverlayScalesOverMutualTLS(t *testing.T) {
	t.Parallel()
	e := suite.InstallOverlay(t, "overlays/hardened", framework.Certificates())
	e.WaitForStream()
	edges := e.Edges()
	runs := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Count: 3})
	e.WaitForJobs(runs, time.Minute)
	e.WaitForState(runs, "Submitted", time.Minute)
	e.AssertPushedSince(edges)
	greedy := e.CreateRuns(prefecttest.Order{RunConfig: framework.KubernetesRun(map[string]any{
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"hostNetwork": true}}},
	})})
	e.WaitForState(greedy, "Failed", time.Minute)
	if message := e.Runs(greedy...)[0].Message; !strings.Contains(message, "hostNetwork=true") {
		t.Errorf("its author reads: %s", message)
	}
	e.AssertOneJobEach(runs)
	e.WaitForZero(time.Minute)
}

// With launchers as Jobs, KEDA makes one while something is due, the Job succeeds by itself,
// and no other follows.
func TestScaledJobOverlayRunsLaunchersToCompletion(t *testing.T) {
	t.Parallel()
	e := suite.InstallOverlay(t, "overlays/scaledjob")
	launchers := func(ctx context.Context) (running, succeeded, failed int) {
		list, err := e.Client.BatchV1().Jobs(e.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + product.Launcher})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			switch s := list.Items[i].Status; {
			case s.Succeeded > 0:
				succeeded++
			case s.Failed > 0:
				failed++
			default:
				running++
			}
		}
		return running, succeeded, failed
	}
	e.Throughout(3*time.Second, "no launcher without a due run", func(ctx context.Context) (string, bool) {
		running, succeeded, failed := launchers(ctx)
		return fmt.Sprintf("%d running, %d succeeded, %d failed", running, succeeded, failed), running+succeeded+failed == 0
	})
	runs := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Count: 5})
	e.WaitForJobs(runs, time.Minute)
	e.WaitForState(runs, "Submitted", time.Minute)
	var after int
	e.Eventually(time.Minute, "every launcher has ended well", func(ctx context.Context) (string, bool) {
		running, succeeded, failed := launchers(ctx)
		after = succeeded
		return fmt.Sprintf("%d running, %d succeeded, %d failed", running, succeeded, failed), running+failed == 0 && succeeded > 0
	})
	e.Throughout(5*time.Second, "no launcher follows", func(ctx context.Context) (string, bool) {
		running, succeeded, failed := launchers(ctx)
		return fmt.Sprintf("%d running, %d succeeded, %d failed", running, succeeded, failed), running+failed == 0 && succeeded == after
	})
	e.AssertOneJobEach(runs)
}
