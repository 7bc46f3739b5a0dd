package kubernetesrun_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// Runs of one flow are alike but for what tells them apart; other things count.
func TestAnonymousJobs(t *testing.T) {
	render := func(id, runConfig string, attempt prefect.Attempt) string {
		r := run(runConfig)
		r.ID, r.Attempt = id, attempt
		j, err := kubernetesrun.Render(r, settings(), kubernetesrun.Template{})
		if err != nil {
			t.Fatal(err)
		}
		before := mustJSON(t, j)
		anonymous := mustJSON(t, kubernetesrun.Marks().Anonymous(j))
		if mustJSON(t, j) != before {
			t.Error("the Job itself was changed")
		}
		return anonymous
	}
	one := render("one", `{"type":"UniversalRun"}`, "v1")
	if diff := cmp.Diff(one, render("two", `{"type":"UniversalRun"}`, "v7")); diff != "" {
		t.Errorf("two runs differ (-one +two):\n%s", diff)
	}
	if one == render("one", `{"type":"UniversalRun","env":{"A":"b"}}`, "v1") {
		t.Error("what the author gave makes no difference")
	}
}

// Nobody's run is what the launcher's settings make of it, with the launcher's
// template and with another.
func TestNeutralRuns(t *testing.T) {
	s := settings()
	s.ServiceAccountName, s.JobTemplate = "flows", "/t/job.yaml"
	r := kubernetesrun.Renderer{Settings: s, Source: file("metadata: {annotations: {launchers: template}}\nspec: {template: {spec: {containers: [{name: flow}]}}}")}
	for own, annotation := range map[bool]string{false: "template", true: ""} {
		run := r.Neutral(own)
		made, err := r.Render(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		j := made.Job
		if got := j.Annotations["launchers"]; got != annotation || j.Spec.Template.Spec.ServiceAccountName != "flows" || made.OwnTemplate != own {
			t.Errorf("with its own template %v: %s", own, mustJSON(t, j))
		}
		if run.State.Phase != prefect.Waiting {
			t.Errorf("it is %s", run.State.Phase)
		}
	}
}

// Launchers agree on names that come from nothing that each reads for itself.
func TestNameVaries(t *testing.T) {
	for _, tc := range []struct {
		runConfig, template string
		want                bool
	}{
		{``, "", false},
		{``, "etl", true},
		{`{"type":"KubernetesRun","job_template_path":"https://a/b.yaml"}`, "etl", true},
		{`{"type":"KubernetesRun","job_template_path":"https://a/b.yaml"}`, "", false},
		{`{"type":"KubernetesRun","job_template":{"metadata":{"name":"etl"},"spec":{"template":{"spec":{}}}}}`, "", false},
	} {
		s := settings()
		s.JobTemplate = "/t/job.yaml"
		template := file("{metadata: {name: " + tc.template + "}, spec: {template: {spec: {}}}}")
		if tc.template == "" {
			template = "spec: {template: {spec: {}}}"
		}
		made, err := kubernetesrun.Renderer{Settings: s, Source: template}.Render(t.Context(), run(tc.runConfig))
		if err != nil || made.NameVaries != tc.want {
			t.Errorf("%v with the run config %s: %v, %v, want %v", made.Job, tc.runConfig, made.NameVaries, err, tc.want)
		}
	}
}
