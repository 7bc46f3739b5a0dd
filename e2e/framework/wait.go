package framework

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/prefect-keda/prefect-keda/e2e/product"
)

const between = 100 * time.Millisecond

// slack is how many times longer than on a quiet machine a wait may take. Scenarios run
// beside one another, on two cores of any speed, and that is no fault of the product's.
// Only what comes in vain is waited for that long.
const slack = 4

// Eventually asks until the answer is yes, and fails the test with the last thing seen
// when that takes far longer than within, which a quiet machine needs at the most.
func (e *Env) Eventually(within time.Duration, what string, ask func(context.Context) (seen string, yes bool)) {
	e.t.Helper()
	within *= slack
	ctx, cancel := context.WithTimeout(e.t.Context(), within)
	defer cancel()
	last := "nothing"
	for {
		seen, yes := ask(ctx)
		if yes {
			return
		}
		// An answer that time cut off says less than the one before.
		if ctx.Err() == nil {
			last = seen
		}
		select {
		case <-ctx.Done():
			e.t.Fatalf("waited %s in vain until %s; last seen: %s", within, what, last)
		case <-time.After(between):
		}
	}
}

// Throughout asks for that long, and fails the test at the first no.
func (e *Env) Throughout(period time.Duration, what string, ask func(context.Context) (seen string, yes bool)) {
	e.t.Helper()
	for end := time.Now().Add(period); time.Now().Before(end); {
		if seen, yes := ask(e.t.Context()); !yes {
			e.t.Fatalf("%s does not hold for %s: %s", what, period, seen)
		}
		select {
		case <-e.t.Context().Done():
			e.t.Fatal(e.t.Context().Err())
		case <-time.After(between):
		}
	}
}

func counted(n, of int, what string) string { return fmt.Sprintf("%d of %d %s", n, of, what) }

func (e *Env) deployment(ctx context.Context, name string) (*appsv1.Deployment, error) {
	return e.Client.AppsV1().Deployments(e.Namespace).Get(ctx, name, metav1.GetOptions{})
}

// WaitForRollout waits until all pods of a Deployment are of its newest form and ready.
func (e *Env) WaitForRollout(name string) {
	e.t.Helper()
	e.Eventually(2*time.Minute, name+" is rolled out", func(ctx context.Context) (string, bool) {
		d, err := e.deployment(ctx, name)
		if err != nil {
			return err.Error(), false
		}
		return fmt.Sprintf("%d ready", d.Status.ReadyReplicas),
			d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == *d.Spec.Replicas && d.Status.AvailableReplicas == *d.Spec.Replicas &&
				d.Status.Replicas == *d.Spec.Replicas
	})
}

func scaledObjects() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledobjects"}
}

func scaledJobs() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledjobs"}
}

func (e *Env) waitUntilReady(kind schema.GroupVersionResource, name string) {
	e.t.Helper()
	e.Eventually(2*time.Minute, kind.Resource+" "+name+" is ready", func(ctx context.Context) (string, bool) {
		o, err := e.Dynamic.Resource(kind).Namespace(e.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err.Error(), false
		}
		conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
		for _, c := range conditions {
			if c, ok := c.(map[string]any); ok && c["type"] == "Ready" {
				return fmt.Sprint(c["status"], " ", c["message"]), c["status"] == "True"
			}
		}
		return "no condition Ready", false
	})
}

// WaitForReplicas waits until a Deployment wants that many pods and has them
// ready; for zero, until its pods are gone.
func (e *Env) WaitForReplicas(name string, want int, within time.Duration) {
	e.t.Helper()
	e.Eventually(within, fmt.Sprintf("%s has %d replicas", name, want), func(ctx context.Context) (string, bool) {
		d, err := e.deployment(ctx, name)
		if err != nil {
			return err.Error(), false
		}
		pods := len(e.pods(ctx, name))
		return fmt.Sprintf("wants %d, %d ready, %d pods", *d.Spec.Replicas, d.Status.ReadyReplicas, pods),
			int(*d.Spec.Replicas) == want && int(d.Status.ReadyReplicas) == want && pods == want
	})
}

// AssertReplicasStable fails when a Deployment wants another number of pods at
// any time in the period.
func (e *Env) AssertReplicasStable(name string, want int, period time.Duration) {
	e.t.Helper()
	e.Throughout(period, fmt.Sprintf("%d replicas of %s", want, name), func(ctx context.Context) (string, bool) {
		d, err := e.deployment(ctx, name)
		if err != nil {
			return err.Error(), false
		}
		return fmt.Sprintf("it wants %d", *d.Spec.Replicas), int(*d.Spec.Replicas) == want
	})
}

// WaitForZero waits until no launcher is left, and asserts that it stays so.
func (e *Env) WaitForZero(within time.Duration) {
	e.t.Helper()
	e.WaitForReplicas(product.Launcher, 0, within)
	e.AssertReplicasStable(product.Launcher, 0, 3*time.Second)
}

// AssertReplicas fails unless a Deployment wants that many pods now.
func (e *Env) AssertReplicas(name string, want int) {
	e.t.Helper()
	d, err := e.deployment(e.t.Context(), name)
	if err != nil {
		e.t.Fatal(err)
	}
	if got := int(*d.Spec.Replicas); got != want {
		e.t.Errorf("%s wants %d replicas, not %d", name, got, want)
	}
}
