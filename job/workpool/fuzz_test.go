package workpool

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/recipe"
)

// Whatever the text, placeholders are filled in once, and what is left of them is bounded.
func FuzzPlaceholders(f *testing.F) {
	for _, text := range []string{"{{ a }}", "x{{ a.b[0] }}{{b}}", "{{{ a }}}", "{{ {{ a }} }}", "{{ $A }}", "{{ prefect.blocks.a.b }}", "{{ a[-1] }}", "{{\x1ca\u3000}}", "{{ [[]] }}", "{{ größe }}"} {
		f.Add(text, `{"a": {"b": [1, "x"]}, "b": "{{ a }}"}`)
	}
	f.Fuzz(func(t *testing.T, text, variables string) {
		v, err := decode(json.RawMessage(variables), "it")
		if err != nil {
			return
		}
		vars, ok := v.object()
		if !ok {
			return
		}
		r := &rendering{room: 1 << 12}
		filled, err := r.variablesPass(vars).value(&value{data: text})
		if _, authors := errors.AsType[*prefect.AuthorError](err); err != nil && !authors {
			t.Fatal(err)
		}
		if filled != nil && filled.size() > len(text)+1<<16 {
			t.Fatalf("%d bytes", filled.size())
		}
	})
}

func FuzzSplit(f *testing.F) {
	for _, command := range []string{"a 'b c' d", `"a\"b"`, `a\`, "''", "#x", "\"", "\x00"} {
		f.Add(command)
	}
	f.Fuzz(func(t *testing.T, command string) {
		words, err := split(command)
		if err != nil {
			return
		}
		quoted := make([]string, len(words))
		for i, word := range words {
			quoted[i] = "'" + strings.ReplaceAll(word, "'", `'"'"'`) + "'"
		}
		again, err := split(strings.Join(quoted, " "))
		if err != nil || strings.Join(again, "\x00") != strings.Join(words, "\x00") {
			t.Fatalf("%q is %q, and quoted %q, %v", command, words, again, err)
		}
	})
}

// Whatever people call things, Kubernetes takes what is made of it.
func FuzzSlugs(f *testing.F) {
	for _, text := range []string{"My Run", "&#65;", "&#xd800;", "你好", "1,2,3", "a/b/c", "..", "-_-", "&amp;amp;", "é/Ü"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if name := nameSlug(text); name != "" && (len(validation.IsDNS1123Label(name)) > 0 || len(name) > maxName) {
			t.Errorf("name %q", name)
		}
		if slug := valueSlug(text); len(validation.IsValidLabelValue(slug)) > 0 {
			t.Errorf("value %q", slug)
		}
		if key := keySlug(text); key != "" && len(validation.IsQualifiedName(strings.ToLower(key))) > 0 && strings.Count(key, ".") == 0 && !strings.Contains(key, "-/") {
			t.Errorf("key %q", key)
		}
		if isQualified(text) != (len(validation.IsQualifiedName(text)) == 0) {
			t.Errorf("Kubernetes has another opinion of the key %q", text)
		}
	})
}

// Whatever the API answers, there is a Job of one pod that executes the run, or its author is
// told.
func FuzzRender(f *testing.F) {
	template := string(defaultTemplate)
	f.Add(`{"env": {"A": "{{ prefect.blocks.a.b }}", "B": null}, "image": "{{ prefect.variables.v }}", "name": "{{ ctx.flow.name }}"}`, `{"env": {"C": 1}, "labels": {"a": "b"}}`, template, "run", `{"value": "x"}`)
	f.Add(`{"env.A": 1, "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {}}], "command": "a 'b'"}`, `null`, `{}`, "🚀", `[]`)
	f.Add(`{"backoff_limit": "{{ x }}", "finished_job_ttl": 1.5, "namespace": "x"}`, `{}`, strings.ReplaceAll(template, `"{{ env }}"`, `[{"name": "L", "value": "{{ $HOME }}"}]`), "", `{"a": {"value": []}}`)
	f.Add(`{"$ref": {"block_document_id": "1"}, "labels": {"$ref": {"block_document_id": "1"}}}`, `{"annotations": {"k": "{{ x"}}`, strings.ReplaceAll(template, `"Never"`, `null`), "a&amp;b", `{"a": "b"}`)
	f.Add(`{}`, `{}`, strings.ReplaceAll(template, `"containers": [`, `"containers": [{"name": "s", "env": [null, {"name": 1}]}, null,`), "r", `1`)
	f.Fuzz(func(t *testing.T, run, deployment, template, name, block string) {
		row := func(id string, field, raw string) json.RawMessage {
			named, err := json.Marshal(name)
			if err != nil {
				t.Skip()
			}
			return json.RawMessage(`{"id": "` + id + `", "name": ` + string(named) + `, "` + field + `": ` + raw + `}`)
		}
		b := recipe.Bundle{
			Inputs: recipe.Inputs{
				FlowRun: row("r", "job_variables", run), Flow: row("f", "x", "1"), Deployment: row("d", "job_variables", deployment), WorkPool: row("p", "base_job_template", template),
			},
			BlockDocuments: map[string]json.RawMessage{"a/b": json.RawMessage(block), "1": json.RawMessage(block)},
			Variables:      map[string]json.RawMessage{"v": json.RawMessage(block)},
		}
		for _, raw := range []json.RawMessage{b.FlowRun, b.Deployment, b.WorkPool, json.RawMessage(block)} {
			if !json.Valid(raw) {
				t.Skip() // the client has read it
			}
		}
		made, err := Render(t.Context(), prefect.FlowRun{ID: "r", Attempt: "s1"}, b.Inputs, Settings{Namespace: "flows", APIURL: "http://api", WorkerName: "w"}, FromBundle(b))
		if err != nil {
			if _, authors := errors.AsType[*prefect.AuthorError](err); !authors {
				t.Fatalf("not for the author: %v", err)
			}
			return
		}
		j := made.Job
		own, _ := job.Name(job.PrefixOf(j.Name), "r", "s1", 0)
		if j.Name != own || len(validation.IsDNS1123Label(j.Name)) > 0 || j.Namespace != "flows" || j.GenerateName != "" {
			t.Errorf("name %q in %q", j.Name, j.Namespace)
		}
		if j.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyNever || j.Spec.Parallelism != nil && *j.Spec.Parallelism != 1 || j.Spec.Completions != nil && *j.Spec.Completions != 1 {
			t.Errorf("more than one pod: %+v", j.Spec)
		}
		for name, text := range j.Labels {
			if len(validation.IsQualifiedName(name))+len(validation.IsValidLabelValue(text)) > 0 {
				t.Errorf("label %q: %q", name, text)
			}
		}
		told := 0
		for _, c := range j.Spec.Template.Spec.Containers {
			for _, v := range c.Env {
				if c.Name == Container && v.Name == RunVariable && v.Value == "r" {
					told++
				}
			}
		}
		if told != 1 || j.Labels[LabelFlowRunID] != "r" || j.Spec.Template.Labels[LabelFlowRunID] != "r" {
			t.Errorf("the run is told %d times: %+v", told, j)
		}
	})
}
