package job_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/job"
)

// A kind of backend may know Jobs by other labels, and without one for the identifier.
func TestMarksNameTheLabels(t *testing.T) {
	for name, tc := range map[string]struct {
		marks job.Marks
		want  func(identifier string) map[string]string
	}{
		"with an identifier": {job.Marks{Run: "of/run", Identifier: "of/identifier"}, func(identifier string) map[string]string {
			return map[string]string{"of/run": "r", "of/identifier": identifier, job.LabelAttempt: "v1", "more": "m"}
		}},
		"without one": {job.Marks{Run: "of/run"}, func(string) map[string]string {
			return map[string]string{"of/run": "r", job.LabelAttempt: "v1", "more": "m"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			j := &batchv1.Job{}
			j.Name = "etl"
			tc.marks.Identify(j, "r", "v1", map[string]string{"more": "m"}, job.Origins{})
			check := func(j *batchv1.Job, n int) {
				t.Helper()
				name, identifier := job.Name("etl", "r", "v1", n)
				for _, got := range []map[string]string{j.Labels, j.Spec.Template.Labels} {
					if d := cmp.Diff(tc.want(identifier), got); j.Name != name || d != "" {
						t.Errorf("try %d is named %s, want %s; labels (-want +got):\n%s", n, j.Name, name, d)
					}
				}
			}
			check(j, 0)
			check(tc.marks.WithName(j, "r", "v1", 1), 1)
			if got := tc.marks.RunOf(j); got != "r" {
				t.Errorf("it is of run %q", got)
			}
			anonymous := tc.marks.Anonymous(j)
			for _, got := range []map[string]string{anonymous.Labels, anonymous.Spec.Template.Labels} {
				if d := cmp.Diff(map[string]string{"more": "m"}, got); d != "" {
					t.Errorf("anonymous (-want +got):\n%s", d)
				}
			}
		})
	}
}

func TestTheVariableOfTheFlowsContainer(t *testing.T) {
	for name, want := range map[string]bool{
		"PREFECT__CONTEXT__FLOW_RUN_ID": true, "PREFECT__FLOW_RUN_ID": true,
		"PREFECT__FLOW_ID": false, "PREFECT_FLOW_RUN_ID": false, "FLOW_RUN_ID": false, "PREFECT__FLOW_RUN_ID_OF": false,
	} {
		if got := job.TellsRun(corev1.EnvVar{Name: name}); got != want {
			t.Errorf("%s tells the run: %v, want %v", name, got, want)
		}
	}
}
