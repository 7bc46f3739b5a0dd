package kubernetesrun

import (
	"encoding/json"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

// Neutral is a flow run of nobody's, whose author left everything to the launcher.
// With its own template it does without the launcher's and brings one that says
// nothing. What Kubernetes has against its Job is no author's fault.
func (Renderer) Neutral(ownTemplate bool) prefect.FlowRun {
	runConfig := `{"type": "KubernetesRun"}`
	if ownTemplate {
		runConfig = `{"type": "KubernetesRun", "job_template": {"spec": {"template": {"spec": {"containers": [{"name": "flow"}]}}}}}`
	}
	return prefect.FlowRun{
		ID: "00000000-0000-4000-8000-000000000000", Name: "prefect-keda-check", Attempt: "v1", Fresh: true,
		State: prefect.State{Phase: prefect.Waiting}, FlowName: "prefect-keda-check",
		Recipe: recipe.Recipe{
			RunConfig: json.RawMessage(runConfig), FlowID: "00000000-0000-4000-8000-000000000001", CoreVersion: "1.4.1",
			Storage: json.RawMessage(`{"type": "Local"}`),
		},
	}
}
