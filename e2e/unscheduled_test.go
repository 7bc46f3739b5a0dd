//go:build e2e && (chaos || soak)

package e2e

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/prefect-keda/prefect-keda/e2e/prefectapi"
)

// unscheduled is a base job template whose pods no node takes, so that a test plays them.
func unscheduled(t *testing.T, defaults map[string]any) map[string]any {
	t.Helper()
	template := prefectapi.Template(defaults)
	if err := unstructured.SetNestedField(template, "nobody", "job_configuration", "job_manifest", "spec", "template", "spec", "schedulerName"); err != nil {
		t.Error(err)
	}
	return template
}
