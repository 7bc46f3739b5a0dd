package jobs

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
)

// A Job's Secret is there before the Job, and goes with it. It goes at once if the API server
// refuses the Job, and stays if nobody knows whether the Job was created.
func TestSecretComesBeforeItsJobAndGoesWithIt(t *testing.T) {
	refusal := apierrors.NewForbidden(batchv1.Resource("jobs"), "job-r", errors.New("exceeded quota"))
	for name, tc := range map[string]struct {
		there  bool  // the Secret is
		job    error // of creating the Job
		secret error // of creating the Secret
		lost   bool  // the Secret is removed by somebody before it is given to the Job
		calls  []string
		owner  string // of the Secret in the end; none if it is gone
	}{
		"created":                          {calls: []string{"create secrets", "create jobs", "patch secrets"}, owner: "job-r"},
		"it is there":                      {there: true, calls: []string{"create secrets", "create jobs", "patch secrets"}, owner: "job-r"},
		"the Job is refused":               {job: refusal, calls: []string{"create secrets", "create jobs", "delete secrets"}, owner: "gone"},
		"the Job is refused, it was there": {there: true, job: refusal, calls: []string{"create secrets", "create jobs"}, owner: "nobody"},
		"the Job exists":                   {job: apierrors.NewAlreadyExists(batchv1.Resource("jobs"), "job-r"), calls: []string{"create secrets", "create jobs"}, owner: "nobody"},
		"nobody knows of the Job":          {job: errors.New("connection reset"), calls: []string{"create secrets", "create jobs"}, owner: "nobody"},
		"it is refused":                    {secret: apierrors.NewForbidden(corev1.Resource("secrets"), "env-r", errors.New("no Role")), calls: []string{"create secrets"}, owner: "gone"},
		"somebody removed it":              {lost: true, calls: []string{"create secrets", "create jobs", "patch secrets", "create secrets"}, owner: "job-r"},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "env-r", Namespace: "flows"}}
			secrets := client.CoreV1().Secrets("flows")
			if tc.there {
				if _, err := secrets.Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				client.ClearActions()
			}
			fails := func(resource string, err error) {
				client.PrependReactor("create", resource, func(clienttesting.Action) (bool, runtime.Object, error) { return err != nil, nil, err })
			}
			fails("jobs", tc.job)
			fails("secrets", tc.secret)
			client.PrependReactor("patch", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
				if tc.lost {
					return false, nil, client.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("secrets"), "flows", "env-r")
				}
				return false, nil, nil
			})
			with := clientOf(client)
			with.Secrets = secrets
			c := New("flows", nil, func(string) Client { return with }, kubernetesrun.Marks(), slog.New(slog.DiscardHandler))
			err := c.Create(t.Context(), jobOfRun("r"), secret)
			if want := errors.Join(tc.job, tc.secret); (err != nil) != (want != nil) {
				t.Errorf("%v, want %v", err, want)
			}
			var calls []string
			for _, a := range client.Actions() {
				calls = append(calls, a.GetVerb()+" "+a.GetResource().Resource)
			}
			if d := cmp.Diff(tc.calls, calls); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			owner := "nobody"
			if kept, err := secrets.Get(t.Context(), "env-r", metav1.GetOptions{}); err != nil {
				owner = "gone"
			} else if len(kept.OwnerReferences) > 0 {
				owner = fmt.Sprint(kept.OwnerReferences[0].Name)
			}
			if owner != tc.owner {
				t.Errorf("the Secret is %s's, want %s's", owner, tc.owner)
			}
		})
	}
}
