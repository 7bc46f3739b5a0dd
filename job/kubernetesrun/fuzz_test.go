package kubernetesrun

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

func authors(err error) bool {
	_, ok := errors.AsType[*prefect.AuthorError](err)
	return ok
}

// Whatever is given as a template, as text or as JSON, it is a Job or an error for
// the one who gave it.
func FuzzTemplate(f *testing.F) {
	f.Add("spec: {template: {spec: {}}}", true, true)
	f.Add("kind: Job\nmetadata: &m {annotations: {a: b}}\nspec:\n  template:\n    metadata: {<<: *m, labels: {a: '1'}}\n    spec: {containers: [{env: [{name: A}]}]}", true, false)
	f.Add("spec: {template: {spec: {containers: [null]}}}", true, true)
	f.Add(`{"metadata": {"labels": null}, "spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": 1e3}}}]}}}}`, false, true)
	f.Add(`{"spec": {"template": {"spec": {}}}, "spec": 1}`, false, false)
	f.Fuzz(func(t *testing.T, text string, isText, fromRun bool) {
		given := template{YAML: []byte(text), FromRun: fromRun, Origin: "it"}
		if !isText {
			given.YAML, given.JSON = nil, json.RawMessage(text)
		}
		d, err := given.decode(Settings{Namespace: "flows"}, &library{})
		_, operators := errors.AsType[*job.TemplateError](err)
		switch {
		case err == nil && d.job == nil:
			t.Fatal("neither a Job nor an error")
		case err != nil && fromRun && (!authors(err) || operators), err != nil && !fromRun && (authors(err) || !operators):
			t.Fatalf("%v is for the wrong one", err)
		}
	})
}

// Whatever a run config holds, it is decoded or its author is told.
func FuzzRunConfig(f *testing.F) {
	for _, seed := range []string{
		`{"type": "KubernetesRun", "env": {"B": "1", "A": null}, "labels": ["a"], "image_pull_secrets": ["s"], "cpu_limit": "1", "job_template": {"kind": "Job"}}`,
		`{"type": "UniversalRun", "env": {"A": "1", "A": "2"}, "labels": [1, null]}`,
		`{"type": "KubernetesRun", "job_template": "kind: Job\n", "job_template_path": ""}`,
		`{"type": "KubernetesRun", "env": {"A": `, `{"type": 1}`, `null`, ` `, `[]`, `{"type": "LocalRun"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rc, err := decodeRunConfig("id", json.RawMessage(text))
		if err != nil && !authors(err) {
			t.Fatalf("%v is not for the author", err)
		}
		if err == nil && rc.JobTemplate.isGiven() && rc.JobTemplatePath != "" {
			t.Fatal("two templates")
		}
		if err == nil && rc.JobTemplate.isGiven() && !rc.JobTemplate.FromRun {
			t.Fatal("the run's template is taken for another's")
		}
	})
}

// Whatever a flow's storage holds, it is one that Prefect knows or its author is told.
func FuzzStorage(f *testing.F) {
	for _, seed := range []string{
		`{"type": "Docker", "registry_url": "r//x/", "image_name": "n", "image_tag": "t"}`, `{"type": "Docker", "image_name": ""}`, `{"type": "Local"}`,
		`{"type": null}`, `{"type": 1}`, `null`, ``, `[]`, `"Docker"`,
	} {
		f.Add(seed, "1.4.1")
	}
	f.Fuzz(func(t *testing.T, text, core string) {
		s, err := decodeStorage(json.RawMessage(text))
		if err != nil && !authors(err) || err == nil && (s.Type == nil || !slices.Contains(storages(), *s.Type)) {
			t.Fatalf("storage %+v, %v", s, err)
		}
		name, err := image(recipe.Recipe{Storage: json.RawMessage(text), CoreVersion: core}, runConfig{}, "", job.Origins{})
		if err != nil && !authors(err) || err == nil && name == "" {
			t.Fatalf("image %q, %v", name, err)
		}
		if _, err := command(core); err != nil && !authors(err) {
			t.Fatalf("command: %v", err)
		}
	})
}
