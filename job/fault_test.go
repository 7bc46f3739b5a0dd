package job_test

import (
	"errors"
	"testing"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// Without what makes it too large a run would get a Job, and not the one it asks for.
func TestNoJobIsMadeOfARunAtFault(t *testing.T) {
	fault := &prefect.AuthorError{Message: "too large"}
	j, err := job.Renderer{}.Render(t.Context(), prefect.FlowRun{ID: "r", Version: 1, Fault: fault})
	if j != nil || !errors.Is(err, fault) {
		t.Errorf("%v, %v; want the fault", j, err)
	}
}
