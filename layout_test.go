// Package layout holds no code: its test keeps the arrows between our packages
// pointing one way (CONTRIBUTING.md draws them).
package layout

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowed lists, for each package, what of ours it may import. A package that
// is not listed may import nothing of ours, so a new one is decided on here.
func allowed() map[string][]string {
	return map[string][]string{
		"prefect":                     {},
		"prefect/prefect1":            {"prefect"},
		"location":                    {},
		"job":                         {"prefect", "location"},
		"job/source":                  {"job", "prefect", "location"},
		"trouble":                     {"prefect", "job"},
		"trouble/informer":            {"job", "trouble"},
		"launcher":                    {"prefect", "job", "trouble", "trouble/informer"},
		"scaler":                      {"prefect", "job", "trouble", "trouble/informer"},
		"config":                      {"location"},
		"kube":                        {},
		"check":                       {"prefect", "job", "kube"},
		"ops":                         {},
		"manifests":                   {},
		"prefect/prefecttest":         {},
		"prefect/prefecttest/control": {"prefect/prefecttest"},
	}
}

func TestDependenciesPointOneWay(t *testing.T) {
	const module = "github.com/prefect-keda/prefect-keda/"
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		pkg := strings.TrimPrefix(fields[0], module)
		// Commands and the end-to-end tests sit at the end of every arrow.
		if strings.HasPrefix(pkg, "cmd/") || strings.HasPrefix(pkg, "e2e") {
			continue
		}
		for _, imported := range fields[1:] {
			if ours, ok := strings.CutPrefix(imported, module); ok && !slices.Contains(allowed()[pkg], ours) {
				t.Errorf("%s imports %s: the arrows point cmd → scaler, launcher → trouble → job → prefect", pkg, ours)
			}
		}
	}
}
