//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// inScaler runs a command in the scaler's pod, as the documents say.
func inScaler(ctx context.Context, e *framework.Env, args ...string) (string, error) {
	return suite.Cluster.Kubectl(ctx, append([]string{"-n", e.Namespace, "exec", "deploy/" + product.Scaler, "--", "/usr/local/bin/app"}, args...)...)
}

// explain in the scaler's pod says why a run does not start: no node takes its pod, nobody
// serves its labels, or its time has not come.
func TestWhyARunDoesNotStart(t *testing.T) {
	t.Parallel()
	e := suite.Install(t)
	stuck := e.CreateRuns(prefecttest.Order{RunConfig: shell(e.Images.Flow, "", map[string]any{"nodeSelector": map[string]any{"there": "is-none"}})})[0]
	unserved := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Labels: []string{"tpu"}})[0]
	ahead := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), In: prefecttest.Duration(time.Hour)})[0]
	for _, tc := range []struct {
		run  string
		says []string
	}{
		{stuck, []string{
			"It has waited ", " for a node: 0/1 nodes are available: ", "It waits for ever; PREFECT_KEDA_PENDING_TIMEOUT would end that.\n",
			"state       Submitted", "job         " + e.Flows + "/prefect-job-", "trouble: unschedulable", "FailedScheduling of pod ",
		}},
		{unserved, []string{"It does not start here. No ScaledObject of this scaler serves [tpu]: " + e.Namespace + "/" + product.Launcher + " serves "}},
		{ahead, []string{"It is Scheduled for ", "; a launcher is woken at ", "served by   scaledobject " + e.Namespace + "/" + product.Launcher}},
	} {
		e.Eventually(time.Minute, "run "+tc.run+" is explained", func(ctx context.Context) (string, bool) {
			out, err := inScaler(ctx, e, "explain", tc.run)
			if err != nil {
				return fmt.Sprint(err, ": ", out), false
			}
			missing := slices.DeleteFunc(slices.Clone(tc.says), func(words string) bool { return strings.Contains(out, words) })
			return fmt.Sprintf("lacks %q:\n%s", missing, out), len(missing) == 0 && !strings.Contains(out, "not read")
		})
	}
}

// The scaler's account may ask what launchers may do, but cannot act as they do.
func TestCheckOfLaunchersInTheScalersPod(t *testing.T) {
	t.Parallel()
	e := suite.Install(t)
	out, err := inScaler(t.Context(), e, "check", "--as", "system:serviceaccount:"+e.Namespace+":"+product.Launcher)
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	plain := strings.Join(strings.Fields(out), " ")
	for _, want := range []string{"ok permissions all 11 of the Role prefect-keda-launcher in " + e.Flows, "skip trial Job not allowed to act as the launcher", "ok Job template", "ok ScaledObject scaledobject prefect-keda-launcher is Ready"} {
		if !strings.Contains(plain, want) {
			t.Errorf("lacks %q:\n%s", want, out)
		}
	}
}

// If the flows' namespace is created after scaler and launcher, both wait for it and its
// Roles, are not restarted, and go on within seconds.
func TestFlowsNamespaceComesLate(t *testing.T) {
	t.Parallel()
	e := suite.Install(t)
	namespaces := e.Client.CoreV1().Namespaces()
	if err := namespaces.Delete(t.Context(), e.Flows, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Eventually(time.Minute, "the namespace "+e.Flows+" is gone", func(ctx context.Context) (string, bool) {
		_, err := namespaces.Get(ctx, e.Flows, metav1.GetOptions{})
		return fmt.Sprint(err), apierrors.IsNotFound(err)
	})
	e.Kill(e.Pods(product.Scaler)[0].Name)
	e.Pause(product.Launcher, 1)
	const waits = "permissions are missing, or the namespace is; waiting for them"
	e.WaitForLog(product.Scaler, waits, time.Minute)
	e.WaitForLog(product.Launcher, waits, time.Minute)
	waiting := func(ctx context.Context) (string, bool) {
		seen := standing(ctx, e)
		return seen, seen == "scaler: ready false, restarts 0; launcher: ready true, restarts 0"
	}
	// The kubelet asks a container that has just begun once in some seconds.
	e.Eventually(time.Minute, "the launcher is ready and the scaler is not", waiting)
	// Longer than a failing liveness probe takes to kill a container.
	e.Throughout(90*time.Second, "the scaler is not ready and nobody is restarted", waiting)
	runs := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods()})

	objects, err := product.Render(suite.Root, "overlays/demo", e.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	flows := slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool {
		return o.GetNamespace() != e.Flows && (o.GetKind() != "Namespace" || o.GetName() != e.Flows)
	})
	if out, err := suite.Cluster.KubectlInput(t.Context(), strings.NewReader(listed(t, flows)), "apply", "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	mended := time.Now()
	e.WaitForLog(product.Launcher, "all permissions are granted now; going on", 20*time.Second)
	e.WaitForJobs(runs, time.Minute)
	t.Logf("measured: namespace and Roles there → the Job is created: %s", seconds(time.Since(mended)))
	e.Eventually(time.Minute, "the scaler is ready", func(ctx context.Context) (string, bool) {
		seen := standing(ctx, e)
		return seen, seen == "scaler: ready true, restarts 0; launcher: ready true, restarts 0"
	})
	e.Resume(product.Launcher)
	e.WaitForZero(time.Minute)
	t.Logf("measured: namespace and Roles there → KEDA scales to zero again: %s", seconds(time.Since(mended)))
}

// standing describes the pods of scaler and launcher, without the stand-in API's.
func standing(ctx context.Context, e *framework.Env) string {
	pods, err := e.Client.CoreV1().Pods(e.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "prefect-keda.io/process in (scaler, launcher)"})
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, p := range pods.Items {
		for _, c := range p.Status.ContainerStatuses {
			if p.DeletionTimestamp == nil {
				all = append(all, fmt.Sprintf("%s: ready %t, restarts %d", p.Labels["prefect-keda.io/process"], c.Ready, c.RestartCount))
			}
		}
	}
	slices.Sort(all)
	slices.Reverse(all)
	return strings.Join(all, "; ")
}
