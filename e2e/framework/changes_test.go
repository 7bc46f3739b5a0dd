package framework

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/prefect-keda/prefect-keda/e2e/product"
)

// rendered are the manifests for namespaces there and there-flows.
func rendered(t *testing.T, changes ...Change) []*unstructured.Unstructured {
	t.Helper()
	root, err := product.Root()
	if err != nil {
		t.Fatal(err)
	}
	objects, err := product.Render(root, "base", "there")
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range changes {
		objects = change(objects)
	}
	return objects
}

// Two installations with the same namespace of Jobs have Roles of their own there, for accounts
// of their own.
func TestFlowsIn(t *testing.T) {
	bound := 0
	for _, o := range rendered(t, FlowsIn("there-flows", "shared")) {
		text, err := o.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "there-flows") {
			t.Errorf("%s %s has to do with the namespace of before: %s", o.GetKind(), o.GetName(), text)
		}
		role, _, _ := unstructured.NestedString(o.Object, "roleRef", "name")
		if beside := strings.HasSuffix(o.GetName(), "-beside"); beside != (o.GetNamespace() == "shared") || role != "" && beside != strings.HasSuffix(role, "-beside") {
			t.Errorf("%s %s in %q is for role %q", o.GetKind(), o.GetName(), o.GetNamespace(), role)
		}
		if role != "" {
			bound++
			subjects, _, _ := unstructured.NestedSlice(o.Object, "subjects")
			if of := subjects[0].(map[string]any)["namespace"]; of != "there" {
				t.Errorf("%s binds an account of namespace %v", o.GetName(), of)
			}
		}
	}
	if bound == 0 {
		t.Error("no Role is bound")
	}
}

func TestOtherImageSettingsAndLaunchers(t *testing.T) {
	found := 0
	for _, o := range rendered(t, Image("other:1", product.Launcher), Settings(map[string]string{"A": "b"}), AtLeast(1)) {
		switch o.GetKind() {
		case "Deployment":
			containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
			if image := containers[0].(map[string]any)["image"]; (image == "other:1") != (o.GetName() == product.Launcher) {
				t.Errorf("the image of %s is %v", o.GetName(), image)
			}
		case "ConfigMap":
			found++
			if a, _, _ := unstructured.NestedString(o.Object, "data", "A"); a != "b" {
				t.Errorf("the setting of %s is %q", o.GetName(), a)
			}
		case "ScaledObject":
			found++
			if n, _, _ := unstructured.NestedInt64(o.Object, "spec", "minReplicaCount"); n != 1 {
				t.Errorf("%s keeps %d launchers", o.GetName(), n)
			}
		}
	}
	if found != 2 {
		t.Errorf("%d ConfigMaps and ScaledObjects, want one of each", found)
	}
}
