package job_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/prefect-keda/prefect-keda/job"
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

// A valid name gives valid names of Jobs, wherever the agent's rule cuts it, and
// the agent's own where that is one.
func TestNamesAreMendedWhereTheyAreCut(t *testing.T) {
	forty7 := strings.Repeat("a", 47)
	for prefix, want := range map[string]string{
		forty7 + ".b":        forty7,
		forty7[1:] + ".-b":   forty7[1:],
		forty7[2:] + ".-.-b": forty7[2:], // invalid before the cut, and mended all the same
		forty7 + "-b":        forty7 + "-",
		forty7 + "b.c":       forty7 + "b",
		"a.b":                "a.b",
		"a-":                 "a-",
		"...":                "prefect-job",
		"":                   "prefect-job",
	} {
		name, identifier := job.Name(prefix, "r", "v1", 0)
		if diff := cmp.Diff(want+"-"+identifier, name); diff != "" {
			t.Errorf("%s (-want +got):\n%s", prefix, diff)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.StringMatching(`[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?){0,5}`).Draw(t, "name")
		name, _ := job.Name(prefix, "r", "v1", 0)
		if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
			t.Fatalf("%s: %v", name, problems)
		}
	})
}
