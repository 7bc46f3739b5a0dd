//go:build e2e

package e2e

import (
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// The events of the ScaledObject, KEDA's and the scaler's, name a typo in the trigger and say
// how to fix it. Once fixed, everything works without a restart.
func TestTypoOfATriggerIsInTheEvents(t *testing.T) {
	t.Parallel()
	e := suite.Install(t)
	object := e.ScaledObject(product.Launcher)
	e.Respell(product.Launcher, "runsPerLauncher", "runsPerLaucher")
	const words = `unknown key "runsPerLaucher", did you mean runsPerLauncher?`
	e.WaitForEvent(object, "KEDAScalerFailed", words, time.Minute)
	e.WaitForEvent(object, "PrefectTriggerRefused", words, time.Minute)
	e.WaitForLog(product.Scaler, "a ScaledObject is refused", time.Minute)
	e.Respell(product.Launcher, "runsPerLaucher", "runsPerLauncher")
	runs := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods()})
	e.WaitForJobs(runs, 2*time.Minute)
}

// A launcher whose pod lacks a ConfigMap cannot say so; the scaler does.
func TestLauncherThatDoesNotComeUpIsInTheEvents(t *testing.T) {
	t.Parallel()
	e := suite.Install(t, framework.Lacking("there-is-none", product.Launcher))
	e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Count: 2})
	began := time.Now()
	e.WaitForEvent(e.ScaledObject(product.Launcher), "PrefectLauncherMissing", `configmap "there-is-none" not found`, 3*time.Minute)
	suite.Report.Measured(t, "runs due → event that no launcher comes up, and why", seconds(time.Since(began)), "1 to 2 minutes")
	e.WaitForLog(product.Scaler, "runs are due and no launcher takes them", time.Minute)
	series := `prefect_keda_scaler_runs_untaken{scaled_object="` + e.Namespace + "/" + product.Launcher + `"}`
	if n := e.ScalerMetric(series); n != 2 {
		t.Errorf("%s is %v, want 2", series, n)
	}
}
