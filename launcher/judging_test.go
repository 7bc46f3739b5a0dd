package launcher

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

// dryRuns are how many were asked for.
func dryRuns(client *fake.Clientset) (n int) {
	for _, a := range client.Actions() {
		if isDryRun(a) {
			n++
		}
	}
	return n
}

// judging has every Job judged, in earnest and in a dry run.
func judging(client *fake.Clientset, judge func(j *batchv1.Job, dry bool) error) {
	client.PrependReactor("create", "jobs", func(a clienttesting.Action) (bool, runtime.Object, error) {
		err := judge(a.(clienttesting.CreateAction).GetObject().(*batchv1.Job), isDryRun(a))
		return err != nil, nil, err
	})
}

// valid is as much of the API server's validation as the templates here need.
func valid(j *batchv1.Job) error {
	var errs field.ErrorList
	for _, wrong := range validation.IsDNS1123Subdomain(j.Name) {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), j.Name, wrong))
	}
	for _, labels := range []map[string]string{j.Labels, j.Spec.Template.Labels} {
		for name, value := range labels {
			for _, wrong := range validation.IsValidLabelValue(value) {
				errs = append(errs, field.Invalid(field.NewPath("metadata", "labels").Key(name), value, wrong))
			}
		}
	}
	pod := field.NewPath("spec", "template", "spec")
	if p := j.Spec.Template.Spec.RestartPolicy; p != corev1.RestartPolicyNever && p != corev1.RestartPolicyOnFailure {
		errs = append(errs, field.NotSupported(pod.Child("restartPolicy"), p, []corev1.RestartPolicy{"Never", "OnFailure"}))
	}
	for i, c := range j.Spec.Template.Spec.Containers {
		if c.Name == "" {
			errs = append(errs, field.Required(pod.Child("containers").Index(i).Child("name"), ""))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: "batch", Kind: "Job"}, j.Name, errs)
}

func denied(what string) error {
	return apierrors.NewForbidden(jobsResource, "j", errors.New(`admission webhook "policy" denied the request: `+what))
}

// page is a template that can be mended.
type page struct {
	mu   sync.Mutex
	text string
}

// Read is that of kubernetesrun.Source.
func (p *page) Read(context.Context, string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return []byte(p.text), nil
}

func (p *page) set(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = text
}

const wellTemplate = "spec: {template: {spec: {containers: [{name: flow}]}}}"

// realRun is one that the real renderer renders.
func realRun(id, runConfig string) *runBuilder {
	r := run(id).due(time.Now())
	r.Recipe = recipe.Recipe{FlowID: "flow", CoreVersion: "1.4.1", Storage: json.RawMessage(`{"type":"Local"}`), RunConfig: json.RawMessage(runConfig)}
	return r
}

const ownTemplate = `{"type":"KubernetesRun","job_template":{"spec":{"template":{"spec":{"containers":[{"name":"mine"}]}}}}}`

// startRendering is start with the real renderer.
func startRendering(t *testing.T, m *memory, p *page, judge func(j *batchv1.Job, dry bool) error) *bench {
	t.Helper()
	b := &bench{t: t, m: m, client: fake.NewClientset(), logs: &logBuffer{}, began: time.Now(), ended: make(chan error, 1)}
	o := options("me")
	o.Concurrency = 4
	o.Logger = slog.New(slog.NewTextHandler(b.logs, nil))
	judging(b.client, judge)
	var err error
	b.Launcher, err = New(o, m, kubernetesrun.Renderer{Settings: kubernetesrun.Settings{Namespace: "flows", JobTemplate: "template.yaml"}, Source: p}, kubernetes(b.client))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	b.cancel = cancel
	go func() { b.ended <- b.Run(ctx) }()
	return b
}
