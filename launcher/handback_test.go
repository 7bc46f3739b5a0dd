package launcher

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
)

func TestOperatorsErrorHandsTheRunBackAndSaysWhatToChange(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"permission": {
			apierrors.NewForbidden(jobsResource, "j", errors.New(`User "x" cannot create resource "jobs"`)),
			"the launcher's Role in namespace flows must allow get, list, watch and create on jobs",
		},
		"no namespace": {
			apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "flows"),
			"the namespace flows does not exist: create it, or set another one for Jobs",
		},
		"namespace goes": {
			&apierrors.StatusError{ErrStatus: metav1.Status{
				Code: 403, Reason: metav1.StatusReasonForbidden, Message: "being terminated",
				Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}},
			}},
			"the namespace flows is being deleted: create it again, or set another one for Jobs",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(run("r"))
				b := start(t, m, func(_ *Options, client *fake.Clientset) {
					refusing(client, func(string) error { return tc.err })
				})
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if s := m.get("r").State; s.Name != "Scheduled" || !strings.Contains(s.Message, tc.want) {
					t.Errorf("state %+v, want Scheduled with %q", s, tc.want)
				}
				if !strings.Contains(b.logs.String(), tc.want) {
					t.Errorf("the launcher's log does not say %q:\n%s", tc.want, b.logs)
				}
				b.stop()
			})
		})
	}
}

func TestRunIsHandedBackWhileKubernetesHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r"))
		clientset := fake.NewClientset()
		refusing(clientset, func(string) error { return quota() })
		client := kubernetes(clientset)("flows")
		client.Jobs = hanging{client.Jobs.(fakeJobs)}
		o := options("me")
		o.RetryFor = 30 * time.Second
		l, err := New(o, m, template{}, only(client))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.Run(ctx) }()
		time.Sleep(50 * time.Second)
		synctest.Wait()
		if s := m.get("r").State; s.Name != "Scheduled" {
			t.Errorf("state %+v, want Scheduled", s)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// hanging does not answer when it is asked for the Jobs of one run.
type hanging struct{ fakeJobs }

func (h hanging) List(ctx context.Context, o metav1.ListOptions) (*batchv1.JobList, error) {
	if !strings.Contains(o.LabelSelector, "=") {
		return h.fakeJobs.List(ctx, o)
	}
	<-ctx.Done()
	return nil, ctx.Err()
}
