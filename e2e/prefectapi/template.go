package prefectapi

import (
	_ "embed"
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

//go:embed pool.json
var pool []byte

// Template is a base job template whose Jobs may be suspended, with defaults for some of its
// variables.
func Template(defaults map[string]any) map[string]any {
	var t map[string]any
	if err := json.Unmarshal(pool, &t); err != nil {
		panic(err) // a file of ours
	}
	for name, value := range defaults {
		if err := unstructured.SetNestedField(t, value, "variables", "properties", name, "default"); err != nil {
			panic(err) // a test's mistake
		}
	}
	return t
}
