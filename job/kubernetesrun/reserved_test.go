package kubernetesrun_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// job is a template with fields of its own in four places.
func templateWith(meta, spec, podMeta string) string {
	return "metadata: {" + meta + "}\nspec: {" + spec + " template: {metadata: {" + podMeta + "}, spec: {containers: [{name: flow}]}}}"
}

// What makes more of a template than a flow's Job is refused, and of what is the
// operator's to decide only if an author wrote it.
func TestReserved(t *testing.T) {
	const owner, label = "ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: c, uid: u}]", "{prefect-keda.io/process: scaler}"
	for name, tc := range map[string]struct {
		template string
		author   string // what its author is told
		operator bool   // whether the operator's template may not have it either
	}{
		"nothing of it":              {templateWith("labels: {a: b}, annotations: {c: d}", "", "labels: {a: b}"), "", false},
		"our labels on the Job":      {templateWith("labels: "+label, "", ""), "metadata.labels.prefect-keda.io/process (prefect-keda.io/ is prefect-keda's own)", true},
		"our labels on the pod":      {templateWith("", "", "labels: "+label), "spec.template.metadata.labels.prefect-keda.io/process (prefect-keda.io/ is prefect-keda's own)", true},
		"our annotation on the Job":  {templateWith(`annotations: {prefect-keda.io/trouble: "{}"}`, "", ""), "metadata.annotations.prefect-keda.io/trouble (prefect-keda.io/ is prefect-keda's own)", true},
		"our annotation on the pod":  {templateWith("", "", `annotations: {prefect-keda.io/x: ""}`), "spec.template.metadata.annotations.prefect-keda.io/x (prefect-keda.io/ is prefect-keda's own)", true},
		"another's of a like name":   {templateWith("labels: {my-prefect-keda.io/a: b, prefect-keda.io.example/a: b}", "", ""), "", false},
		"an owner of the Job":        {templateWith(owner, "", ""), "metadata.ownerReferences (the Job would go with another object)", false},
		"an owner of the pod":        {templateWith("", "", owner), "spec.template.metadata.ownerReferences (the Job would go with another object)", false},
		"a finalizer of the Job":     {templateWith("finalizers: [a/b]", "", ""), "metadata.finalizers (the Job could not be removed)", false},
		"a finalizer of the pod":     {templateWith("", "", "finalizers: [a/b]"), "spec.template.metadata.finalizers (the Job could not be removed)", false},
		"a selector":                 {templateWith("", "selector: {matchLabels: {a: b}},", ""), "spec.selector (Kubernetes makes it)", true},
		"others' pods":               {templateWith("", "manualSelector: true,", ""), "spec.manualSelector (the Job would take other Jobs' pods for its own)", true},
		"no others' pods":            {templateWith("", "manualSelector: false,", ""), "", false},
		"another controller":         {templateWith("", "managedBy: example.com/nobody,", ""), "spec.managedBy (Kubernetes itself would not run the Job)", false},
		"Kubernetes' own controller": {templateWith("", "managedBy: kubernetes.io/job-controller,", ""), "", false},
		"all at once": {
			templateWith("finalizers: [a/b]", "manualSelector: true,", "labels: "+label),
			"metadata.finalizers (the Job could not be removed), spec.template.metadata.labels.prefect-keda.io/process (prefect-keda.io/ is prefect-keda's own), " +
				"spec.manualSelector (the Job would take other Jobs' pods for its own)",
			true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := ""
			if tc.author != "" {
				want = "the job template has what no flow run's Job may have: " + tc.author + ": leave it out"
			}
			_, err := kubernetesrun.Render(run(""), settings(), inline(tc.template))
			got := ""
			if author, ok := errors.AsType[*prefect.AuthorError](err); ok {
				got = author.Message
			} else if err != nil {
				got = "for another: " + err.Error()
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("the author: -want +got:\n%s", d)
			}
			_, err = kubernetesrun.Render(run(""), settings(), kubernetesrun.Template{YAML: []byte(tc.template)})
			if got := addressee(err); (got == "operator") != tc.operator || err != nil && got != "operator" {
				t.Errorf("in the operator's template: %v", err)
			}
		})
	}
}

// Nobody's Job can pass for another run's: what we know it by wins over any
// template, on the Job and on its pods.
func TestOurLabelsWin(t *testing.T) {
	const borrowed = "labels: {prefect.io/identifier: x, prefect.io/flow_run_id: x, prefect.io/flow_id: x, own: kept}"
	for name, template := range map[string]kubernetesrun.Template{
		"an author's":    inline(templateWith(borrowed, "", borrowed)),
		"the operator's": {YAML: []byte(templateWith(borrowed, "", borrowed))},
	} {
		j, err := kubernetesrun.Render(run(""), settings(), template)
		if err != nil {
			t.Fatal(err)
		}
		_, identifier := job.Name("", runID, "v1", 0)
		want := map[string]string{
			kubernetesrun.LabelIdentifier: identifier, kubernetesrun.LabelFlowRunID: runID, kubernetesrun.LabelFlowID: "0f2bdc1b-6ed1-4d08-9b5c-1d1bdb6a0002", job.LabelAttempt: "v1", "own": "kept",
		}
		if d := cmp.Diff(want, j.Labels); d != "" {
			t.Errorf("%s Job: -want +got:\n%s", name, d)
		}
		if d := cmp.Diff(want, j.Spec.Template.Labels); d != "" {
			t.Errorf("%s pod: -want +got:\n%s", name, d)
		}
	}
}

// A run is one pod: several would execute it side by side.
func TestOnePod(t *testing.T) {
	one := new(int32(1))
	for spec, want := range map[string][2]*int32{
		"":                                {nil, nil},
		"parallelism: 3,":                 {one, nil},
		"completions: 3,":                 {nil, one},
		"parallelism: 0, completions: 0,": {one, one},
		"parallelism: 1, completions: 1,": {one, one},
		"parallelism: 3, completions: 5, completionMode: Indexed,": {one, one},
	} {
		j, err := kubernetesrun.Render(run(""), settings(), inline(templateWith("", spec, "")))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, [2]*int32{j.Spec.Parallelism, j.Spec.Completions}); d != "" {
			t.Errorf("%q: -want +got:\n%s", spec, d)
		}
	}
}

// A template that is a copy of a Job is not taken for one that has run already.
func TestCopyOfAJob(t *testing.T) {
	template := strings.Replace(templateWith(`name: n, generateName: g-, uid: u, resourceVersion: "7", generation: 3, selfLink: /s, creationTimestamp: "2026-01-01T00:00:00Z",
		deletionTimestamp: "2026-01-01T00:00:00Z", deletionGracePeriodSeconds: 3, managedFields: [{manager: m}]`, "", ""), "spec:", "status: {succeeded: 1, conditions: [{type: Complete, status: 'True'}]}\nspec:", 1)
	j, err := kubernetesrun.Render(run(""), settings(), inline(template))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(metav1.ObjectMeta{Name: j.Name, GenerateName: "g-", Labels: j.Labels}, j.ObjectMeta); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if d := cmp.Diff(batchv1.JobStatus{}, j.Status); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
