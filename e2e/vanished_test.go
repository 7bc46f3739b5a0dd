//go:build e2e

package e2e

import (
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// When somebody deletes a Job, its Running flow run ends without a word, so a launcher has to
// notice and fail the run. That takes minutes, so it is in a file of its own and the last of
// those that run beside one another, with which go test begins: it waits while others run, and
// not they for it.
func TestRunOfADeletedJobFails(t *testing.T) {
	t.Parallel()
	e := suite.Install(t)
	flows := e.RegisterFlows()
	runs := e.CreateRuns(prefecttest.Order{FlowID: flows["slow"], Parameters: map[string]any{"seconds": 900}})
	e.WaitForState(runs, "Running", 2*time.Minute)
	e.WaitForZero(time.Minute)
	name := e.JobsOf(runs[0])[0].Name
	e.DeleteJob(name)
	deleted := time.Now()
	e.WaitForState(runs, "Failed", 6*time.Minute)
	t.Logf("measured: Job deleted → its run Failed, from zero (Prefect hears of pods every 30 s, two minutes' silence is believed): %s", seconds(time.Since(deleted)))
	e.AssertMessage(runs[0], name)
	e.WaitForZero(time.Minute)
}
