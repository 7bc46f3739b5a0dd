package job_test

import (
	"testing"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

func TestPrefixOf(t *testing.T) {
	name, _ := job.Name("etl", "r", "v1", 0)
	byDefault, _ := job.Name("", "r", "v1", 0)
	for of, want := range map[string]string{
		name: "etl", byDefault: "prefect-job", "a-b-1234abcd": "a-b",
		"": "", "-1234abcd": "", "1234abcd": "", "etl": "", "made-by-hand": "", "etl_1234abcd": "",
	} {
		if got := job.PrefixOf(of); got != want {
			t.Errorf("of %q: %q, want %q", of, got, want)
		}
	}
}

// Launchers agree on names that come from nothing that each reads for itself.
func TestNameVaries(t *testing.T) {
	for _, tc := range []struct {
		runConfig, prefix string
		want              bool
	}{
		{``, "prefect-job", false},
		{``, "etl", true},
		{`{"type":"KubernetesRun","job_template_path":"https://a/b.yaml"}`, "etl", true},
		{`{"type":"KubernetesRun","job_template_path":"https://a/b.yaml"}`, "prefect-job", false},
		{`{"type":"KubernetesRun","job_template":{"metadata":{"name":"etl"}}}`, "etl", false},
		{`{"type":"DockerRun"}`, "etl", true}, // wrong, and told so
	} {
		name, _ := job.Name(tc.prefix, "r", "v1", 0)
		if got := job.NameVaries(prefect.FlowRun{ID: "r", RunConfig: []byte(tc.runConfig)}, name); got != tc.want {
			t.Errorf("%s with the run config %s: %v, want %v", name, tc.runConfig, got, tc.want)
		}
	}
}
