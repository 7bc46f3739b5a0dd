package product

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// An overlay for Prefect 3 is put into namespaces of its own, with its pools and its server.
func TestRenderForPrefect3(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	objects, err := RenderForPrefect3(root, "there", Prefect3URL("prefect"), "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	var settings map[string]string
	for _, o := range objects {
		if o.GetKind() == "ConfigMap" {
			settings, _, _ = unstructured.NestedStringMap(o.Object, "data")
		}
		if !slices.Contains([]string{"", "there", "there-flows"}, o.GetNamespace()) {
			t.Errorf("%s %s is in namespace %s", o.GetKind(), o.GetName(), o.GetNamespace())
		}
	}
	for name, want := range map[string]string{
		"NAMESPACE": "there-flows", "PREFECT_KEDA_WORK_POOLS": "a,b", "PREFECT_API_URL": "http://prefect-server.prefect.svc:4200/api",
	} {
		if settings[name] != want {
			t.Errorf("%s is %q, want %q", name, settings[name], want)
		}
	}
}
