//go:build e2e && chaos

package e2e

import (
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

func TestSilent(t *testing.T) {
	e := suite.InstallOverlay(t, "overlays/ha")
	asked, other := e.WaitForAskedScaler(time.Minute)
	var ip string
	for _, p := range e.Pods("prefect-keda-scaler") {
		if p.Name == asked {
			ip = p.Status.PodIP
		}
	}
	hear, err := suite.Cluster.Silence(t.Context(), ip)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hear(t.Context()) })
	began := time.Now()
	runs := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods()})
	e.WaitForStreamTo(other, 18*time.Minute)
	t.Logf("KEDA listens to the other after %s", time.Since(began))
	e.WaitForJob(runs[0], 5*time.Minute)
	t.Logf("Job after %s", time.Since(began))
}
