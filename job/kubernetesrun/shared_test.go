package kubernetesrun_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

// The runs of a burst share decoded templates and run configs, and do not see each other.
func TestTemplatesAreSharedUnchanged(t *testing.T) {
	const template = "metadata: {labels: {a: b}}\nspec: {template: {spec: {containers: [{name: flow, env: [{name: A, value: b}]}]}}}"
	s := settings()
	s.JobTemplate = "template.yaml"
	for name, runConfig := range map[string]string{
		"the launcher's": `{"type": "KubernetesRun", "env": {"B": "c"}, "memory_limit": "1Gi"}`,
		"inline":         `{"type": "KubernetesRun", "image": "flow:1", "job_template": {"metadata": {"annotations": {"a": "b"}}, "spec": {"template": {"spec": {"containers": [{"name": "flow"}]}}}}}`,
		"none":           ``,
	} {
		t.Run(name, func(t *testing.T) {
			shared := kubernetesrun.NewRenderer(s, file(template))
			var all sync.WaitGroup
			for i := range 20 {
				all.Go(func() {
					r := run(runConfig)
					r.ID = fmt.Sprint("run-", i)
					made, _ := recipe.Of(r)
					made.FlowID = fmt.Sprint("flow-", i)
					r.Recipe = made
					want, err := kubernetesrun.Renderer{Settings: s, Source: file(template)}.Render(t.Context(), r)
					if err != nil {
						t.Error(err)
						return
					}
					got, err := shared.Render(t.Context(), r)
					if d := cmp.Diff(want, got); d != "" || err != nil {
						t.Errorf("run %d, %v (-alone +shared):\n%s", i, err, d)
					}
				})
			}
			all.Wait()
		})
	}
}
