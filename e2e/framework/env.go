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
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/job/workpool"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest/control"
)

// Env belongs to one scenario: a namespace with everything installed in it, and one for its
// flows' Jobs.
type Env struct {
	*Suite
	Namespace, Flows string
	// Prefect controls the stand-in API.
	Prefect control.Client
	t       *testing.T
	jobs    *recorder
	// runLabel is the label that names a Job's flow run.
	runLabel string
	// flowRuns is what Prefect knows of flow runs, for the evidence.
	flowRuns func(context.Context) (any, error)
}

// Install installs the demo overlay, changed, in namespaces of its own, and returns when it
// is ready to scale from zero. The namespaces are removed after the test; if it failed,
// their state is kept as evidence.
func (s *Suite) Install(t *testing.T, changes ...Change) *Env {
	t.Helper()
	return s.InstallOverlay(t, "overlays/demo", changes...)
}

// InstallOverlay installs another overlay, with the demo overlay's stand-in API.
func (s *Suite) InstallOverlay(t *testing.T, overlay string, changes ...Change) *Env {
	t.Helper()
	e := s.namespace(t, kubernetesrun.LabelFlowRunID)
	objects, err := product.Render(s.Root, overlay, e.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	demo, err := product.Render(s.Root, "overlays/demo", e.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	changes = append([]Change{withStandIn(demo), FastFeedback()}, changes...)
	for _, change := range changes {
		objects = change(objects)
	}
	e.apply(objects)
	e.awaitReady(objects)
	return e
}

// awaitReady waits until what was installed is ready to scale from zero.
func (e *Env) awaitReady(objects []*unstructured.Unstructured) {
	e.t.Helper()
	for _, o := range objects {
		if o.GetKind() == "Deployment" && (o.GetName() == product.StandIn || o.GetName() == product.Scaler) {
			e.WaitForRollout(o.GetName())
		}
	}
	for _, o := range objects {
		switch o.GetKind() {
		case "ScaledObject":
			e.waitUntilReady(scaledObjects(), o.GetName())
			if seldom(o) { // KEDA would leave the first launcher for as long
				e.TakeDown(o.GetName())
			}
			e.WaitForReplicas(o.GetName(), 0, time.Minute)
		case "ScaledJob":
			e.waitUntilReady(scaledJobs(), o.GetName())
		}
	}
}

// Bare is an environment with its namespaces and nothing in them.
func (s *Suite) Bare(t *testing.T) *Env {
	t.Helper()
	return s.bare(t, kubernetesrun.LabelFlowRunID)
}

// BareForPools is the same for flow runs of work pools, without a server.
func (s *Suite) BareForPools(t *testing.T) *Env {
	t.Helper()
	return s.bare(t, workpool.LabelFlowRunID)
}

func (s *Suite) bare(t *testing.T, runLabel string) *Env {
	t.Helper()
	e := s.namespace(t, runLabel)
	e.createNamespaces()
	return e
}

func (e *Env) createNamespaces() {
	e.t.Helper()
	for _, name := range []string{e.Namespace, e.Flows} {
		if _, err := e.Client.CoreV1().Namespaces().Create(e.t.Context(), namespaceObject(name), metav1.CreateOptions{}); err != nil {
			e.t.Fatal(err)
		}
	}
}

// InstallOnly installs what the base holds of some kinds.
func (e *Env) InstallOnly(kinds ...string) {
	e.t.Helper()
	objects, err := product.Render(e.Root, "base", e.Namespace)
	if err != nil {
		e.t.Fatal(err)
	}
	e.apply(slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool { return !slices.Contains(kinds, o.GetKind()) }))
}

// Put applies objects, changed, over what is there.
func (e *Env) Put(objects []*unstructured.Unstructured, changes ...Change) {
	e.t.Helper()
	for _, change := range changes {
		objects = change(objects)
	}
	e.apply(objects)
}

// namespaceName turns the name of a test or subtest into a name for Kubernetes.
func namespaceName(test string) string {
	name := "e2e-" + regexp.MustCompile("[^a-z0-9]+").ReplaceAllString(strings.ToLower(strings.TrimPrefix(test, "Test")), "-")
	return strings.Trim(name[:min(len(name), 40)], "-") + "-" + strings.ToLower(rand.Text()[:5])
}

func (s *Suite) namespace(t *testing.T, runLabel string) *Env {
	t.Helper()
	name := namespaceName(t.Name())
	e := &Env{Suite: s, Namespace: name, Flows: product.FlowsOf(name), t: t, runLabel: runLabel}
	var err error
	if e.Prefect, err = product.Levers(s.Config, name); err != nil {
		t.Fatal(err)
	}
	e.flowRuns = func(ctx context.Context) (any, error) { return e.Prefect.Runs(ctx) }
	e.jobs = watchJobs(s.Client, e.Flows, runLabel)
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
