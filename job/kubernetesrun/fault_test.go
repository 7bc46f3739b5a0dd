package kubernetesrun_test

import (
	"errors"
	"testing"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// Without what makes it too large a run would get a Job, and not the one it asks for.
func TestNoJobIsMadeOfARunAtFault(t *testing.T) {
	fault := &prefect.AuthorError{Message: "too large"}
	made, err := kubernetesrun.Renderer{}.Render(t.Context(), prefect.FlowRun{ID: "r", Attempt: "v1", Fault: fault})
	if made.Job != nil || !errors.Is(err, fault) {
		t.Errorf("%v, %v; want the fault", made, err)
	}
}

// Of a run that was read without its recipe the Job cannot be made, which is nobody's
// fault and fails no run.
func TestRunWithoutItsRecipe(t *testing.T) {
	made, err := kubernetesrun.Renderer{}.Render(t.Context(), prefect.FlowRun{ID: "r", Attempt: "v1"})
	if made.Job != nil || addressee(err) != "nobody" {
		t.Errorf("%v, %v; want an error that is nobody's fault", made, err)
	}
}
