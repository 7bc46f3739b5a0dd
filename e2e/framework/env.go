package framework

import (
	"context"
	"crypto/rand"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest/control"
)

// Env is one scenario's: a namespace with everything installed in it, and one for
// its flows' Jobs.
type Env struct {
	*Suite
	Namespace, Flows string
	// Prefect works the stand-in API's levers.
	Prefect control.Client
	t       *testing.T
	jobs    *recorder
}

// Install installs the demo overlay, changed, in namespaces of its own, and
// returns when it is ready to scale from zero. They are removed after the test;
// what they looked like is kept when the test failed.
func (s *Suite) Install(t *testing.T, changes ...Change) *Env {
	t.Helper()
	return s.InstallOverlay(t, "overlays/demo", changes...)
}

// InstallOverlay is Install of another overlay, with the demo overlay's stand-in
// API added.
func (s *Suite) InstallOverlay(t *testing.T, overlay string, changes ...Change) *Env {
	t.Helper()
	e := s.namespace(t)
	objects, err := product.Render(s.Root, overlay)
	if err != nil {
		t.Fatal(err)
	}
	demo, err := product.Render(s.Root, "overlays/demo")
	if err != nil {
		t.Fatal(err)
	}
	product.Move(objects, e.Namespace)
	product.Move(demo, e.Namespace)
	changes = append([]Change{withStandIn(demo), FastFeedback()}, changes...)
	for _, change := range changes {
		objects = change(objects)
	}
	e.apply(objects)
	e.waitForDeployment(product.StandIn)
	e.waitForDeployment(product.Scaler)
	for _, o := range objects {
		switch o.GetKind() {
		case "ScaledObject":
			e.waitUntilReady(scaledObjects(), o.GetName())
			e.WaitForReplicas(o.GetName(), 0, time.Minute)
		case "ScaledJob":
			e.waitUntilReady(scaledJobs(), o.GetName())
		}
	}
	return e
}

// Bare is an environment with its namespaces and nothing in them.
func (s *Suite) Bare(t *testing.T) *Env {
	t.Helper()
	e := s.namespace(t)
	for _, name := range []string{e.Namespace, e.Flows} {
		if _, err := s.Client.CoreV1().Namespaces().Create(t.Context(), namespaceObject(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// InstallOnly installs what the base holds of some kinds.
func (e *Env) InstallOnly(kinds ...string) {
	e.t.Helper()
	objects, err := product.Render(e.Root, "base")
	if err != nil {
		e.t.Fatal(err)
	}
	product.Move(objects, e.Namespace)
	e.apply(slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool { return !slices.Contains(kinds, o.GetKind()) }))
}

// namespaceName is a name that Kubernetes takes, of a test or subtest.
func namespaceName(test string) string {
	name := "e2e-" + regexp.MustCompile("[^a-z0-9]+").ReplaceAllString(strings.ToLower(strings.TrimPrefix(test, "Test")), "-")
	return strings.Trim(name[:min(len(name), 40)], "-") + "-" + strings.ToLower(rand.Text()[:5])
}

func (s *Suite) namespace(t *testing.T) *Env {
	t.Helper()
	name := namespaceName(t.Name())
	e := &Env{Suite: s, Namespace: name, Flows: product.FlowsOf(name), t: t}
	var err error
	if e.Prefect, err = product.Levers(s.Config, name); err != nil {
		t.Fatal(err)
	}
	e.jobs = watchJobs(s.Client, e.Flows)
	t.Cleanup(func() {
		// The test's own context has ended by now.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		e.jobs.stop()
		if t.Failed() {
			e.keepEvidence(ctx)
		}
		if os.Getenv("E2E_KEEP") != "" {
			t.Logf("E2E_KEEP is set: namespaces %s and %s are left", name, e.Flows)
			return
		}
		for _, name := range []string{e.Flows, name} {
			if err := s.removeNamespace(ctx, name); err != nil {
				t.Log(err)
			}
		}
	})
	return e
}

func (e *Env) apply(objects []*unstructured.Unstructured) {
	e.t.Helper()
	for _, o := range objects {
		if o.GetKind() == "Namespace" {
			labels := o.GetLabels()
			if labels == nil {
				labels = map[string]string{}
			}
			labels[ours] = "true"
			o.SetLabels(labels)
		}
	}
	if err := product.Apply(e.t.Context(), e.Dynamic, e.Mapper, objects, false); err != nil {
		e.t.Fatal(err)
	}
}
