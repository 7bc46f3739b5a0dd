package job_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// A valid name gives valid names of Jobs, wherever the agent's rule cuts it, and
// the agent's own where that is one.
func TestNamesAreMendedWhereTheyAreCut(t *testing.T) {
	forty7 := strings.Repeat("a", 47)
	for prefix, want := range map[string]string{
		forty7 + ".b":        forty7,
		forty7[1:] + ".-b":   forty7[1:],
		forty7[2:] + ".-.-b": forty7[2:], // invalid before the cut, and mended all the same
		forty7 + "-b":        forty7 + "-",
		forty7 + "b.c":       forty7 + "b",
		"a.b":                "a.b",
		"a-":                 "a-",
		"...":                "prefect-job",
		"":                   "prefect-job",
	} {
		name, identifier := job.Name(prefix, runID, "v1", 0)
		if diff := cmp.Diff(want+"-"+identifier, name); diff != "" {
			t.Errorf("%s (-want +got):\n%s", prefix, diff)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.StringMatching(`[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?){0,5}`).Draw(t, "name")
		name, _ := job.Name(prefix, runID, "v1", 0)
		if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
			t.Fatalf("%s: %v", name, problems)
		}
	})
}

// Runs of one flow are alike but for what tells them apart; other things count.
func TestAnonymousJobs(t *testing.T) {
	render := func(id, runConfig string, version int) string {
		r := run(runConfig)
		r.ID, r.Version = id, version
		j, err := job.Render(r, settings(), job.Template{})
		if err != nil {
			t.Fatal(err)
		}
		before := mustJSON(t, j)
		anonymous := mustJSON(t, job.Anonymous(j))
		if mustJSON(t, j) != before {
			t.Error("the Job itself was changed")
		}
		return anonymous
	}
	one := render("one", `{"type":"UniversalRun"}`, 1)
	if diff := cmp.Diff(one, render("two", `{"type":"UniversalRun"}`, 7)); diff != "" {
		t.Errorf("two runs differ (-one +two):\n%s", diff)
	}
	if one == render("one", `{"type":"UniversalRun","env":{"A":"b"}}`, 1) {
		t.Error("what the author gave makes no difference")
	}
}

// Nobody's run is what the launcher's settings make of it, with the launcher's
// template and with another.
func TestNeutralRuns(t *testing.T) {
	s := settings()
	s.ServiceAccountName, s.JobTemplate = "flows", "/t/job.yaml"
	r := job.Renderer{Settings: s, Source: file("metadata: {annotations: {launchers: template}}\nspec: {template: {spec: {containers: [{name: flow}]}}}")}
	for own, annotation := range map[bool]string{false: "template", true: ""} {
		run := job.Neutral(own)
		j, err := r.Render(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		if got := j.Annotations["launchers"]; got != annotation || j.Spec.Template.Spec.ServiceAccountName != "flows" || job.BringsTemplate(run) != own {
			t.Errorf("with its own template %v: %s", own, mustJSON(t, j))
		}
		if run.State.Type != prefect.Scheduled {
			t.Errorf("it is %s", run.State.Type)
		}
	}
}
