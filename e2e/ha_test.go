//go:build e2e

package e2e

import (
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// The scaler that KEDA listens to vanishes, in an idle hour with a run scheduled soon. The
// other one takes over: KEDA polls so seldom here that only its push can wake a launcher.
func TestSecondScalerTakesOver(t *testing.T) {
	t.Parallel()
	e := suite.InstallOverlay(t, "overlays/ha", framework.PushOnly())
	asked, other := e.WaitForAskedScaler(time.Minute)
	scheduled := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), In: prefecttest.Duration(25 * time.Second)})
	due := time.Now().Add(25 * time.Second)
	began := time.Now()
	e.Kill(asked)
	e.WaitForStreamTo(other, time.Minute)
	suite.Report.Measured(t, "asked scaler gone → KEDA listens to the other", seconds(time.Since(began)), "seconds")
	made := e.WaitForJob(scheduled[0], 90*time.Second)
	suite.Report.Measured(t, "scheduled run meanwhile, due → Job", seconds(made.At.Sub(due)), "")
	e.AssertOneJobEach(scheduled)
}
