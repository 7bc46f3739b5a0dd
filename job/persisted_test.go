package job_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// The name is the lock, so launchers of two releases have to give an attempt's Job the
// same one, and they know Jobs by their labels (docs/compatibility.md). Lines are added
// to the recorded ones, and none is changed.
func TestPersistedNamesAndLabels(t *testing.T) {
	type named struct {
		Prefix, Run, Attempt   string
		Taken                  int
		Name, Identifier, Kept string // Kept is the attempt as the label has it
	}
	var recorded struct {
		Labels []string
		Names  []named
	}
	text, err := os.ReadFile("testdata/persisted/names.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &recorded); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(recorded.Labels, []string{kubernetesrun.LabelIdentifier, kubernetesrun.LabelFlowRunID, kubernetesrun.LabelFlowID, job.LabelAttempt}); diff != "" {
		t.Errorf("labels (-recorded +today's):\n%s", diff)
	}
	if len(recorded.Names) == 0 {
		t.Error("no names are recorded")
	}
	for _, was := range recorded.Names {
		is, attempt := was, prefect.Attempt(was.Attempt)
		is.Name, is.Identifier = job.Name(was.Prefix, was.Run, attempt, was.Taken)
		is.Kept = job.AttemptLabel(attempt)
		if diff := cmp.Diff(was, is); diff != "" {
			t.Errorf("-recorded +today's:\n%s", diff)
		}
	}
}
