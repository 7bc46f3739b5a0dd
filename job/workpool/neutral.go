package workpool

import (
	"encoding/json"
	"fmt"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/recipe"
)

// neutral is the recipe of a run of nobody's, for which Prefect is not asked.
type neutral struct{}

// Neutral is a flow run of nobody's, whose authors left everything to the launcher: its pool
// has no template of its own. What Kubernetes has against its Job is no author's fault.
func (Renderer) Neutral(bool) prefect.FlowRun {
	return prefect.FlowRun{
		ID: "00000000-0000-4000-8000-000000000000", Name: "prefect-keda-check", Attempt: "s00000000-0000-4000-8000-000000000001", Fresh: true,
		State: prefect.State{Phase: prefect.Waiting}, FlowName: "prefect-keda-check", Recipe: neutral{},
	}
}

func (neutral) inputs(run prefect.FlowRun) recipe.Inputs {
	row := func(id, name string) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"id": %q, "name": %q}`, id, name))
	}
	return recipe.Inputs{
		FlowRun: row(run.ID, run.Name), Flow: row("00000000-0000-4000-8000-000000000002", run.FlowName),
		WorkPool: row("00000000-0000-4000-8000-000000000003", "prefect-keda-check"),
	}
}
