// Package recipe holds what only the client of Prefect 3 and the renderer of its work
// pools understand of a flow run: everything that its Job is made of, as the API returns it.
//
// It is apart from both, so that the renderer does without the client and the client
// without Kubernetes.
package recipe

import (
	"encoding/json"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// Run goes into prefect.FlowRun.Recipe.
type Run struct {
	// Row is the flow run as the API returns it.
	Row json.RawMessage
	// Created is when the run was made; the others name what its Job is made of besides. All
	// are in the row, too, which is decoded once.
	Created                time.Time
	Deployment, Flow, Pool string
}

// Of returns the recipe of a run; false if the run was read without it.
func Of(run prefect.FlowRun) (Run, bool) {
	r, ok := run.Recipe.(Run)
	return r, ok && len(r.Row) > 0
}

// Inputs are the objects that a run's Job is made of, undecoded: a bad one is its
// author's error and must not stop the runs beside it.
type Inputs struct {
	FlowRun json.RawMessage `json:"flow_run"`
	Flow    json.RawMessage `json:"flow"`
	// Deployment is empty or null for a run without one.
	Deployment json.RawMessage `json:"deployment,omitempty"`
	WorkPool   json.RawMessage `json:"work_pool"`
	// ServerVersion is the version of Prefect's server; empty if unknown, as with Cloud.
	ServerVersion string `json:"server_version,omitempty"`
}

// Bundle is Inputs with all that their templates refer to, for rendering without an API.
type Bundle struct {
	Inputs
	// BlockDocuments by "slug/name", and by id where a template refers to an id.
	BlockDocuments map[string]json.RawMessage `json:"block_documents,omitempty"`
	// Variables by name.
	Variables map[string]json.RawMessage `json:"variables,omitempty"`
}
