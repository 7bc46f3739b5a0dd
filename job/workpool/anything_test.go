package workpool

import (
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/recipe"
)

// broken is a tree in which something is other than it was.
func broken(r *rand.Rand, in any) any {
	strange := []any{nil, true, 1, -1.5, "", "x", "{{ env }}", "{{ a.b[0] }}-{{ prefect.variables.v }}", []any{}, []any{nil, 1}, map[string]any{}, map[string]any{"name": "prefect-job", "env": nil}, map[string]any{"$ref": map[string]any{"block_document_id": "1"}}}
	if r.IntN(6) == 0 {
		return strange[r.IntN(len(strange))]
	}
	switch in := in.(type) {
	case map[string]any:
		if names := slices.Sorted(maps.Keys(in)); len(names) > 0 {
			name := names[r.IntN(len(names))]
			in[name] = broken(r, in[name])
		}
		return in
	case []any:
		if len(in) > 0 {
			at := r.IntN(len(in))
			in[at] = broken(r, in[at])
		}
		return in
	}
	return strange[r.IntN(len(strange))]
}

// A template and job variables that are broken anywhere make a Job of one pod, or their
// author is told.
func TestBrokenTemplates(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // not for secrets
	made, refused := 0, 0
	for range 2000 {
		var template, variables any
		if err := errors.Join(json.Unmarshal(defaultTemplate, &template), json.Unmarshal([]byte(`{"env": {"A": "1", "B": null}, "env.C": "{{ prefect.blocks.a.b }}", "labels": {"x": "y"}, "image": "i", "command": "a b", "name": "n"}`), &variables)); err != nil {
			t.Fatal(err)
		}
		for range 1 + r.IntN(3) {
			if r.IntN(2) == 0 {
				template = broken(r, template)
			} else {
				variables = broken(r, variables)
			}
		}
		pool, err := json.Marshal(map[string]any{"id": "p", "name": "pool", "base_job_template": template})
		if err != nil {
			t.Fatal(err)
		}
		run, err := json.Marshal(map[string]any{"id": "r", "name": "run", "job_variables": variables})
		if err != nil {
			t.Fatal(err)
		}
		b := recipe.Bundle{
			Inputs:         recipe.Inputs{FlowRun: run, Flow: json.RawMessage(`{"id": "f", "name": "flow"}`), WorkPool: pool},
			BlockDocuments: map[string]json.RawMessage{"a/b": json.RawMessage(`{"value": "s"}`), "1": json.RawMessage(`{"x": ["y"]}`)},
		}
		got, err := Render(t.Context(), prefect.FlowRun{ID: "r", Attempt: "s1"}, b.Inputs, Settings{Namespace: "flows"}, FromBundle(b))
		if err != nil {
			if _, authors := errors.AsType[*prefect.AuthorError](err); !authors {
				t.Fatalf("not for the author: %v\n%s\n%s", err, pool, run)
			}
			refused++
			continue
		}
		made++
		pod := got.Job.Spec.Template
		if pod.Spec.RestartPolicy != corev1.RestartPolicyNever || got.Job.Labels[LabelFlowRunID] != "r" || pod.Labels[LabelFlowRunID] != "r" || got.Job.Name == "" || got.Job.Namespace != "flows" {
			t.Fatalf("%+v\n%s\n%s", got.Job, pool, run)
		}
	}
	if made < 500 || refused < 500 {
		t.Errorf("%d Jobs, %d refused: say more about both", made, refused)
	}
}
