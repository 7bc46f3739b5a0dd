package launcher

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/admission"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// etcd and what leads to it answer as if it were their fault, and the API server as
// if it were the selector's. It was tried for ever.
func TestTooLargeAJobIsItsAuthors(t *testing.T) {
	internal := func(text string) error { return apierrors.NewInternalError(errors.New(text)) }
	const grpc = "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2097663 vs. 2097152)"
	uid := field.Invalid(field.NewPath("spec", "template", "metadata", "labels").Key("controller-uid"), map[string]string{"job-name": "j"}, "must be '1'")
	selector := field.Invalid(field.NewPath("spec", "selector"), metav1.LabelSelector{}, "`selector` not auto-generated")
	for name, refusal := range map[string]struct {
		err  error
		said string
	}{
		"etcd":      {internal("etcdserver: request is too large"), ": Internal error occurred: etcdserver: request is too large"},
		"gRPC":      {internal(grpc), ": Internal error occurred: " + grpc},
		"second go": {apierrors.NewInvalid(schema.GroupKind{Group: "batch", Kind: "Job"}, "j", field.ErrorList{uid, selector}), ""},
	} {
		for state, r := range map[string]*runBuilder{"due": run("r"), "retried": run("r").retrying("t", 3, time.Time{})} {
			t.Run(state+", "+name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					long := strings.Repeat("x", 2<<20)
					m := newMemory(r)
					client := fake.NewClientset()
					creates := 0
					judging(client, func(*batchv1.Job, bool) error {
						creates++
						return refusal.err
					})
					l := mustNew(t, options("me"), m, client)
					l.renderer = adding{name: "BIG", value: long}
					if err := l.Run(t.Context()); err != nil {
						t.Error(err)
					}
					want := "Kubernetes refused the Job of this run because it is too large, and never takes more than about 1.5 MiB" + refusal.said +
						". The largest parts: the variable BIG of the container flow has 2048 KiB, command and args of the container flow has 0 KiB. Let the pod mount large values from a ConfigMap, or fetch them"
					if diff := cmp.Diff(prefect.State{Phase: prefect.Finished, Name: "Failed", Message: want}, m.get("r").State); diff != "" {
						t.Errorf("state (-want +got):\n%s", diff)
					}
					if creates != 1 {
						t.Errorf("it was tried %d times", creates)
					}
					if lines := m.linesOf("r"); len(lines) != 1 || len(lines[0]) > jobs.MaxWords+admission.MaxYAML+100 {
						t.Errorf("%d lines are told", len(lines))
					}
				})
			})
		}
	}
}

// adding renders a container with a variable.
type adding struct {
	template
	name, value string
}

// Render is that of Renderer.
func (a adding) Render(ctx context.Context, r prefect.FlowRun) (job.Rendering, error) {
	made, err := a.template.Render(ctx, r)
	if err == nil {
		made.Job.Spec.Template.Spec.Containers = []corev1.Container{{Name: "flow", Env: []corev1.EnvVar{{Name: a.name, Value: a.value}}}}
	}
	return made, err
}

// A refusal names each element of a list, and a Job may be of any length.
func TestWordsToAuthorsAreBounded(t *testing.T) {
	words := jobs.WordsOf(apierrors.NewBadRequest(strings.Repeat("ä", jobs.MaxWords)))
	if want := strings.Repeat("ä", jobs.MaxWords/2) + "…"; words != want {
		t.Errorf("%d bytes, want %d", len(words), len(want))
	}
}
