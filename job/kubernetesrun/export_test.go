package kubernetesrun

import (
	batchv1 "k8s.io/api/batch/v1"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// Template is one that a test gives.
type Template = template

// Render puts a run into a template that no source has to be asked for.
func Render(run prefect.FlowRun, s Settings, t Template) (*batchv1.Job, error) {
	shared := &library{}
	made, rc, err := open(run, shared)
	if err != nil {
		return nil, err
	}
	j, _, err := render(run, made, rc, s, t, shared)
	return j, err
}
