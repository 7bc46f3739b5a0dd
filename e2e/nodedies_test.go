//go:build e2e && chaos

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// The node dies in the middle of a burst, with the scaler and a launcher that has claims in
// hand: both hang, and the kubelet tells nothing any more. Kubernetes notices after 40 s and
// moves their pods half a minute later. The node is the only one, so it comes back then, in
// place of another.
func TestNodeDies(t *testing.T) {
	e := suite.Install(t)
	e.Break(slowClaims(2 * time.Second))
	runs := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), Count: 100})
	e.WaitForJobCount(10, 2*time.Minute)
	t.Cleanup(func() {
		if err := suite.Cluster.StartKubelet(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := suite.Cluster.StopKubelet(t.Context()); err != nil {
		t.Fatal(err)
	}
	dead := map[string]bool{}
	for _, of := range []string{product.Scaler, product.Launcher} {
		for _, p := range e.Pods(of) {
			dead[p.Name] = true
			if err := suite.Cluster.Freeze(t.Context(), string(p.UID)); err != nil {
				t.Fatal(err)
			}
		}
	}
	died, node := time.Now(), e.Node()
	later := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), In: prefecttest.Duration(20 * time.Second)})
	e.Eventually(3*time.Minute, "Kubernetes takes the node for dead", func(ctx context.Context) (string, bool) {
		n, err := e.Client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return err.Error(), false
		}
		return fmt.Sprint(n.Spec.Taints), len(n.Spec.Taints) > 0
	})
	noticed := time.Now()
	e.Eventually(2*time.Minute, "all pods are replaced", func(ctx context.Context) (string, bool) {
		list, err := e.Client.CoreV1().Pods(e.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error(), false
		}
		left := 0
		for i := range list.Items {
			if p := &list.Items[i]; dead[p.Name] && p.DeletionTimestamp == nil {
				left++
			}
		}
		return fmt.Sprintf("%d are left", left), left == 0
	})
	suite.Report.Measured(t, "node dead → Kubernetes notices", seconds(noticed.Sub(died)), "40 to 50 s")
	suite.Report.Measured(t, "node known to be dead → pods of ours are replaced", seconds(time.Since(noticed)), "30 s; Kubernetes' default: 300 s")
	if err := suite.Cluster.StartKubelet(t.Context()); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	e.Eventually(time.Minute, "the stand-in answers again", func(ctx context.Context) (string, bool) {
		err := e.Prefect.Mend(ctx)
		return fmt.Sprint(err), err == nil
	})
	all := append(runs, later...)
	e.WaitForJobs(all, 3*time.Minute)
	suite.Report.Measured(t, "a node for the new pods → every run has its Job", seconds(time.Since(back)), "a minute")
	e.WaitForState(all, "Submitted", time.Minute)
	e.AssertOneJobEach(all)
}

// The asked one of two scalers falls silent, as with a node that loses its network: nothing
// breaks KEDA's connection. This measures how long KEDA waits, a quarter of an hour, so nothing
// but a name runs it.
func TestAskedScalerFallsSilent(t *testing.T) {
	e := suite.InstallOverlay(t, "overlays/ha")
	asked, other := e.WaitForAskedScaler(time.Minute)
	pods := e.Pods(product.Scaler)
	i := slices.IndexFunc(pods, func(p corev1.Pod) bool { return p.Name == asked })
	hear, err := suite.Cluster.Silence(t.Context(), pods[i].Status.PodIP)
	t.Cleanup(func() {
		if err := hear(context.Background()); err != nil { // another pod may get the address
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	runs := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods()})
	e.WaitForStreamTo(other, 20*time.Minute)
	suite.Report.Measured(t, "asked scaler silent → KEDA listens to the other", seconds(time.Since(began)), "")
	e.WaitForJobs(runs, time.Minute)
	e.AssertOneJobEach(runs)
}
