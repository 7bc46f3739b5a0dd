package job

import (
	"encoding/json"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// Neutral is a flow run of nobody's, whose author left everything to the launcher.
// With its own template it does without the launcher's and brings one that says
// nothing. What Kubernetes has against its Job is no author's fault.
func Neutral(ownTemplate bool) prefect.FlowRun {
	runConfig := `{"type": "KubernetesRun"}`
	if ownTemplate {
		runConfig = `{"type": "KubernetesRun", "job_template": {"spec": {"template": {"spec": {"containers": [{"name": "flow"}]}}}}}`
	}
	return prefect.FlowRun{
		ID: "00000000-0000-4000-8000-000000000000", Name: "prefect-keda-check", Version: 1,
		State:     prefect.State{Type: prefect.Scheduled},
		RunConfig: json.RawMessage(runConfig),
		Flow: prefect.Flow{
			ID: "00000000-0000-4000-8000-000000000001", Name: "prefect-keda-check", CoreVersion: "1.4.1",
			Storage: json.RawMessage(`{"type": "Local"}`),
		},
	}
}

// Anonymous is a Job without what tells its run from other runs of the flow.
func Anonymous(j *batchv1.Job) *batchv1.Job {
	j = j.DeepCopy()
	j.Name = PrefixOf(j.Name)
	for _, label := range []string{LabelIdentifier, LabelFlowRunID, LabelAttempt} {
		delete(j.Labels, label)
		delete(j.Spec.Template.Labels, label)
	}
	for i := range j.Spec.Template.Spec.Containers {
		env := j.Spec.Template.Spec.Containers[i].Env
		for k := range env {
			if env[k].Name == RunVariable {
				env[k].Value = ""
			}
		}
	}
	return j
}
