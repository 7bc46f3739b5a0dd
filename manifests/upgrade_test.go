package manifests_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A Deployment's selector cannot be changed once it is there, so a new one would make
// an upgrade by `kubectl apply` fail (docs/compatibility.md).
func TestSelectorsStay(t *testing.T) {
	selectors := map[string]map[string]string{}
	for _, o := range build(t, "base") {
		if o.GetKind() != "Deployment" {
			continue
		}
		selector, _, err := unstructured.NestedStringMap(o.Object, "spec", "selector", "matchLabels")
		if err != nil {
			t.Fatal(err)
		}
		selectors[o.GetName()] = selector
	}
	want := map[string]map[string]string{
		"prefect-keda-scaler":   {"app.kubernetes.io/name": "prefect-keda-scaler"},
		"prefect-keda-launcher": {"app.kubernetes.io/name": "prefect-keda-launcher"},
	}
	if diff := cmp.Diff(want, selectors); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
