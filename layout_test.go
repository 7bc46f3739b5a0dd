// Package layout holds no code: its test keeps the arrows between our packages
// pointing one way (CONTRIBUTING.md draws them).
package layout

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// allowed lists, for each package, what of ours it may import. A package that
// is not listed may import nothing of ours, so a new one is decided on here.
func allowed() map[string][]string {
	return map[string][]string{
		"prefect":                     {},
		"prefect/exchange":            {"prefect"},
		"prefect/prefect1":            {"backoff", "prefect", "prefect/exchange", "prefect/prefect1/recipe"},
		"prefect/prefect1/recipe":     {"prefect"},
		"prefect/prefect3":            {"backoff", "prefect", "prefect/exchange", "prefect/prefect3/recipe"},
		"prefect/prefect3/recipe":     {"prefect"},
		"prefect/prefect3/fake":       {"prefect/standin"},
		"prefect/prefect3/servertest": {},
		"job/workpool":                {"job", "literal", "prefect", "prefect/prefect3/recipe"},
		"location":                    {},
		"backoff":                     {},
		"lasting":                     {},
		"literal":                     {},
		"job":                         {"prefect"},
		"job/kubernetesrun":           {"job", "literal", "prefect", "prefect/prefect1/recipe", "location"},
		"job/kubernetesrun/source":    {"backoff", "job", "prefect", "location"},
		"trouble/resolve":             {"backoff", "claims", "job", "jobs", "prefect", "trouble"},
		"trouble":                     {"prefect", "job"},
		"jobs":                        {"prefect", "job", "trouble", "jobs/informer"},
		"admission":                   {"claims", "job", "jobs", "prefect"},
		"claims":                      {"prefect", "jobs"},
		"claims/model":                {},
		"jobs/informer":               {"backoff", "job", "lasting", "trouble"},
		"scaler/hour":                 {"job", "prefect"},
		"jobs/informer/crowd":         {},
		"launcher":                    {"admission", "claims", "trouble/resolve", "backoff", "lasting", "prefect", "job", "trouble", "jobs", "jobs/informer"},
		"scaler":                      {"backoff", "lasting", "literal", "prefect", "job", "trouble", "jobs", "jobs/informer", "scaler/hour", "scaler/page"},
		"scaler/page":                 {"scaler/hour", "trouble"},
		"config":                      {"literal", "location", "job", "scaler"}, // of the last two only bounds
		"kube":                        {},
		"explain":                     {"prefect", "job", "trouble"},
		"explain/collect":             {"explain", "prefect", "job", "trouble"},
		"check":                       {"prefect", "job", "kube"},
		"ops":                         {},
		"notice":                      {},
		"manifests":                   {},
		"prefect/backendtest":         {"prefect"},
		"prefect/prefecttest":         {"prefect/standin"},
		"prefect/standin":             {},
		"prefect/prefecttest/control": {"prefect/prefecttest"},
	}
}

// Only one file of the product knows each Prefect, beside the packages of that Prefect.
func TestOneFileKnowsTheBackend(t *testing.T) {
	picks := map[string]string{
		"prefect/prefect1": "cmd/prefect-keda/prefect1.go", "job/kubernetesrun": "cmd/prefect-keda/prefect1.go",
		"prefect/prefect3": "cmd/prefect-keda/prefect3.go", "job/workpool": "cmd/prefect-keda/prefect3.go",
	}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (picks[path] != "" || slices.Contains([]string{".git", "e2e", "hack"}, path)):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		for of, only := range picks {
			if path != only && strings.Contains(string(text), `"github.com/prefect-keda/prefect-keda/`+of) {
				t.Errorf("%s imports %s: only %s may; use the interface in cmd/prefect-keda/backend.go", path, of, only)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// above lists what works with any Prefect.
func above() []string { return []string{"explain", "jobs", "launcher", "scaler", "trouble"} }

// Not even through another package does what works with any Prefect reach one of them.
func TestNothingAboveABackendReachesOne(t *testing.T) {
	args := []string{"list", "-f", `{{.ImportPath}}{{range .Deps}} {{.}}{{end}}`}
	for _, dir := range above() {
		args = append(args, "./"+dir+"/...")
	}
	out, err := exec.CommandContext(t.Context(), "go", args...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		for _, dep := range fields[1:] {
			dep = strings.TrimPrefix(dep, "github.com/prefect-keda/prefect-keda/")
			for _, of := range []string{"prefect/prefect1", "prefect/prefecttest", "prefect/prefect3", "job/kubernetesrun", "job/workpool"} {
				if dep == of || strings.HasPrefix(dep, of+"/") {
					t.Errorf("%s needs %s, which belongs to one Prefect: let the backend or the renderer bring what is wanted, in the words of package prefect or job", fields[0], dep)
				}
			}
		}
	}
}

// What works with any Prefect has no words for what only Prefect 1.x has. Package prefect
// has words that fit them all.
func TestWordsOfOnePrefectStayInItsBackend(t *testing.T) {
	words := map[string]*regexp.Regexp{
		"ask the backend by its interface":                      regexp.MustCompile(`(?i)graphql|mutation\b`),
		"prefect.FlowRun.KeepBy says by when a run is given up": regexp.MustCompile(`(?i)lazarus`),
		"prefect.FlowRun.Recipe holds it, and nobody opens it":  regexp.MustCompile(`RunConfig|run_config|CoreVersion|core_version`),
		"prefect.FlowRun.JobFirst says what follows from it":    regexp.MustCompile(`(?i)due_?tasks?\b|task_?runs?\b|task's|\btasks\b`),
		"decide by a prefect.Phase, show prefect.State.Name":    regexp.MustCompile(`StateType|\b(Scheduled|Submitted|Paused|Queued|Retrying|Resume|TimedOut|TriggerFailed)\b|"(Running|Success|Failed|Cancelled|Cancelling|Pending)"|State\.Name [!=]=`),
		"prefect.Scope takes a prefect.Place or does not":       regexp.MustCompile(`LabelsMatch|(Scope|Place)\.Labels\[`),
		"an attempt or a revision is only ever compared":        regexp.MustCompile(`Sscanf|Atoi\((string\()?\w+\.(Attempt|Revision)`),
	}
	// What people have read so far stays as it is.
	said := regexp.MustCompile(`"Submitted for execution: `)
	for _, dir := range above() {
		if dir == "explain" { // it is all words for people, of whichever Prefect
			continue
		}
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for i, line := range strings.Split(string(text), "\n") {
				for instead, word := range words {
					if found := word.FindString(said.ReplaceAllString(line, "")); found != "" {
						t.Errorf("%s:%d says %q, which only Prefect 1.x has: %s", path, i+1, found, instead)
					}
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
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
