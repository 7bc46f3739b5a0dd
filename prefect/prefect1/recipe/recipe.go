// Package recipe holds the part of a Prefect 1.x flow run that only prefect1 and the
// renderer of such runs understand: the parts of its Job, and its due tasks.
//
// It is apart from both, so that the renderer does without the GraphQL client and the
// client without Kubernetes.
package recipe

import (
	"encoding/json"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// Recipe goes into prefect.FlowRun.Recipe.
type Recipe struct {
	// RunConfig is the run's own run config as the API returns it, undecoded: a bad one
	// is its author's error and must not stop the runs beside it. Empty or JSON null
	// means the defaults.
	RunConfig json.RawMessage
	FlowID    string
	// CoreVersion is the Prefect version the flow was registered with; it selects the
	// default image and the pod's command. Empty when unknown.
	CoreVersion string
	// Storage is the flow's storage as the API returns it, undecoded.
	Storage json.RawMessage
	// DueTasks are the task runs of a Running flow run whose retry time has come. A claim
	// of such a run claims them. A run read among many has only the first to fall due.
	DueTasks []Task
}

// Task is one task's execution inside a flow run.
type Task struct {
	ID      string
	TaskID  string
	Version int
	State   prefect.State
}

// Of returns the recipe of a run; false if the run was read without it.
func Of(run prefect.FlowRun) (Recipe, bool) {
	r, ok := run.Recipe.(Recipe)
	return r, ok
}
