//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// Two installations stand side by side: each scales for its own Prefect, and the service
// accounts of neither may do anything where the other's flows are.
func TestTwoInstallationsSideBySide(t *testing.T) {
	t.Parallel()
	var installed [2]*framework.Env
	for i := range installed {
		installed[i] = suite.Install(t)
	}
	one, two := installed[0], installed[1]
	runs := one.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Count: 3})
	one.WaitForJobs(runs, time.Minute)
	one.WaitForState(runs, "Submitted", time.Minute)
	one.AssertOneJobEach(runs)
	two.AssertReplicas(product.Launcher, 0)
	if n := two.JobCount(); n != 0 {
		t.Errorf("%d Jobs are where the other's flows are", n)
	}
	for _, pair := range [][2]*framework.Env{{one, two}, {two, one}, {one, one}} {
		for _, account := range []string{product.Scaler, product.Launcher} {
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User:               "system:serviceaccount:" + pair[0].Namespace + ":" + account,
				ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: pair[1].Flows, Verb: "list", Group: "batch", Resource: "jobs"},
			}}
			answer, err := suite.Client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if want := pair[0] == pair[1]; answer.Status.Allowed != want {
				t.Errorf("%s of %s in %s: allowed %v, want %v", account, pair[0].Namespace, pair[1].Flows, answer.Status.Allowed, want)
			}
		}
	}
	one.WaitForZero(time.Minute)
}

// Like Argo CD's self-healing and Flux, this applies the same manifests again while launchers
// run, with and without server-side apply, and nothing changes.
func TestApplyingAgainChangesNothing(t *testing.T) {
	t.Parallel()
	e := suite.Install(t)
	objects, err := product.Render(suite.Root, "overlays/demo", e.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	manifests := listed(t, framework.FastFeedback()(objects))
	apply := func(args ...string) {
		t.Helper()
		if out, err := suite.Cluster.KubectlInput(t.Context(), strings.NewReader(manifests), append([]string{"apply", "-f", "-"}, args...)...); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	apply() // from here on it is kubectl's, as if it had been from the start
	// A number that is not the default, and that KEDA itself does not change meanwhile.
	e.Pause(product.Launcher, 3)
	e.WaitForReplicas(product.Launcher, 3, time.Minute)
	before, pods := launcherSpec(t, e), podNames(e)
	for _, args := range [][]string{nil, {"--server-side", "--force-conflicts", "--field-manager=argocd-controller"}, nil} {
		apply(args...)
		if d := cmp.Diff(before, launcherSpec(t, e)); d != "" {
			t.Errorf("applied again with %q: -before +after:\n%s", args, d)
		}
	}
	// If KEDA had had to correct the number, there would be other launchers now.
	if d := cmp.Diff(pods, podNames(e)); d != "" {
		t.Errorf("launchers: -before +after:\n%s", d)
	}
	e.Resume(product.Launcher)
	e.WaitForZero(time.Minute)
}

func launcherSpec(t *testing.T, e *framework.Env) appsv1.DeploymentSpec {
	t.Helper()
	d, err := suite.Client.AppsV1().Deployments(e.Namespace).Get(t.Context(), product.Launcher, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d.Spec
}

func podNames(e *framework.Env) []string {
	var names []string
	for _, pod := range e.Pods(product.Launcher) {
		if pod.DeletionTimestamp == nil {
			names = append(names, pod.Name)
		}
	}
	slices.Sort(names)
	return names
}

// listed is objects as one List for kubectl.
func listed(t *testing.T, objects []*unstructured.Unstructured) string {
	t.Helper()
	items := make([]any, len(objects))
	for i, o := range objects {
		items[i] = o.Object
	}
	text, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// KEDA keeps an empty authentication for good if it sees the ScaledObject before its
// TriggerAuthentication. So ten fresh installations, applied in kubectl's order, all have to
// get TLS.
func TestTLSFromTenFreshApplies(t *testing.T) {
	t.Parallel()
	const fresh = 10
	envs := make([]*framework.Env, fresh)
	for i := range envs {
		envs[i] = suite.Bare(t)
	}
	var applied sync.WaitGroup
	for _, e := range envs {
		applied.Go(func() {
			objects, err := product.Render(suite.Root, "overlays/hardened", e.Namespace)
			if err != nil {
				t.Error(err)
				return
			}
			for _, change := range []framework.Change{framework.FastFeedback(), framework.Certificates()} {
				objects = change(objects)
			}
			if out, err := suite.Cluster.KubectlInput(t.Context(), strings.NewReader(listed(t, objects)), "apply", "-f", "-"); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	applied.Wait()
	for _, e := range envs {
		// Prefect does not exist, so KEDA gets an error: from the scaler, over TLS.
		e.Eventually(2*time.Minute, "the scaler is asked over TLS", func(ctx context.Context) (string, bool) {
			asked, err := e.IsAsked(ctx)
			return fmt.Sprintf("%v, %v", asked, err), asked
		})
	}
}

// If the TriggerAuthentication did come too late, the scaler's log says so, and the cure in
// docs/troubleshooting.md works.
func TestTriggerAuthenticationThatCameLate(t *testing.T) {
	t.Parallel()
	e := suite.Bare(t)
	objects, err := product.Render(suite.Root, "overlays/hardened", e.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []framework.Change{framework.FastFeedback(), framework.Certificates()} {
		objects = change(objects)
	}
	apply := func(kinds ...string) {
		t.Helper()
		some := slices.DeleteFunc(slices.Clone(objects), func(o *unstructured.Unstructured) bool {
			return len(kinds) > 0 && !slices.Contains(kinds, o.GetKind()) || len(kinds) == 0 && o.GetKind() == "TriggerAuthentication"
		})
		if out, err := suite.Cluster.KubectlInput(t.Context(), strings.NewReader(listed(t, some)), "apply", "-f", "-"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	apply()
	e.WaitForLog(product.Scaler, "a client does not take our certificate", 2*time.Minute)
	apply("TriggerAuthentication")
	if out, err := suite.Cluster.Kubectl(t.Context(), "-n", e.Namespace, "delete", "scaledobject", product.Launcher); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	apply("ScaledObject")
	e.Eventually(time.Minute, "the scaler is asked over TLS", func(ctx context.Context) (string, bool) {
		asked, err := e.IsAsked(ctx)
		return fmt.Sprintf("%v, %v", asked, err), asked
	})
}

// One launcher replaces the agent on a cluster without KEDA: it is up from the start,
// launches, and stays.
func TestAlwaysOnOverlay(t *testing.T) {
	t.Parallel()
	e := suite.InstallOverlay(t, "overlays/always-on")
	e.WaitForReplicas(product.Launcher, 1, time.Minute)
	runs := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Count: 3})
	e.WaitForJobs(runs, time.Minute)
	e.WaitForState(runs, "Submitted", time.Minute)
	e.AssertOneJobEach(runs)
	e.AssertReplicasStable(product.Launcher, 1, 5*time.Second)
}
