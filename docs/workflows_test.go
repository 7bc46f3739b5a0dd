package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// workflows are the files that GitHub runs.
func workflows(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"../.github/workflows/*.yaml", "../.github/workflows/*.yml", "../.github/actions/*/action.y*ml"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		t.Fatal("no workflows")
	}
	return files
}

// unpinned are the actions of others that a workflow does not name by commit, with the
// version as a comment, which dependabot renews together.
func unpinned(workflow string) []string {
	uses := regexp.MustCompile(`(?m)\buses["']?\s*:[ \t]*(.*?)[ \t]*$`)
	pinned := regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	var found []string
	for _, m := range uses.FindAllStringSubmatch(workflow, -1) {
		if !strings.HasPrefix(m[1], "./") && !pinned.MatchString(m[1]) {
			found = append(found, m[1])
		}
	}
	return found
}

// loose is what a workflow may do without need: its jobs name the permissions beyond reading,
// and a checkout leaves no token behind for the steps after it.
func loose(text string) []string {
	var workflow struct {
		Permissions map[string]string
		Jobs        map[string]struct {
			Steps []struct {
				Uses string
				With map[string]any
			}
		}
	}
	if err := yaml.Unmarshal([]byte(text), &workflow); err != nil {
		return []string{err.Error()}
	}
	var found []string
	if workflow.Permissions == nil {
		found = append(found, "without permissions of its own it has all that the repository gives")
	}
	for of, access := range workflow.Permissions {
		if access != "read" && access != "none" {
			found = append(found, "every job may "+access+" "+of)
		}
	}
	for name, job := range workflow.Jobs {
		for _, step := range job.Steps {
			if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != false {
				found = append(found, "the checkout of job "+name+" leaves its token in the clone")
			}
		}
	}
	return found
}

// What TestWorkflows asks of workflows is noticed where it is missing.
func TestLooseWorkflowsAreNoticed(t *testing.T) {
	const sha = "3d3c42e5aac5ba805825da76410c181273ba90b1"
	for action, ok := range map[string]bool{
		"- uses: actions/checkout@" + sha + " # v7.0.1":      true,
		"  uses: ./.github/workflows/ci.yaml":                true,
		"- uses: actions/checkout@v7":                        false,
		"- uses: actions/checkout@" + sha:                    false, // which version is it?
		"- uses: actions/checkout@" + sha + " # v7":          false,
		"- uses: actions/checkout@" + sha[:12] + " # v7.0.1": false,
		"- uses: docker://alpine:3":                          false,
		"- 'uses' : actions/checkout@v7":                     false,
		"- {uses: actions/checkout@v7}":                      false,
	} {
		if found := unpinned(action + "\n"); (len(found) == 0) != ok {
			t.Errorf("%s: found %q", action, found)
		}
	}
	const steps = "jobs: {a: {steps: [{uses: actions/checkout@v7, with: {persist-credentials: false}}]}}\n"
	for workflow, want := range map[string]string{
		"permissions: {contents: read}\n" + steps:  "",
		"permissions: {}\n" + steps:                "",
		steps:                                      "without permissions",
		"permissions: write-all\n" + steps:         "cannot unmarshal",
		"permissions: {packages: write}\n" + steps: "every job may write packages",
		"permissions: {}\njobs: {a: {steps: [{uses: actions/checkout@v7}]}}\n": "leaves its token",
	} {
		found := strings.Join(loose(workflow), "; ")
		if (found == "") != (want == "") || !strings.Contains(found, want) {
			t.Errorf("%q: found %q, want %q", workflow, found, want)
		}
	}
}

// Each module of the tree gets its updates proposed, but those whose versions move by hand.
func TestDependabotKnowsEveryModule(t *testing.T) {
	var config struct {
		Updates []struct {
			Ecosystem string `json:"package-ecosystem"`
			Directory string
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, ".github/dependabot.yml")), &config); err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, entry os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (path == "../.git" || path == "../bin" || path == "../e2e" || entry.Name() == "testdata"):
			return filepath.SkipDir
		case entry.Name() == "go.mod":
			missing[strings.TrimPrefix(filepath.Dir(path), "..")+"/"] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	actions := false
	for _, update := range config.Updates {
		switch update.Ecosystem {
		case "gomod":
			folder := strings.TrimSuffix(update.Directory, "/") + "/"
			if !missing[folder] {
				t.Errorf("dependabot looks for a module in %s", folder)
			}
			delete(missing, folder)
		case "github-actions":
			actions = true
		}
	}
	if len(missing) > 0 || !actions {
		t.Errorf("dependabot does not know the modules %v; it knows actions: %v", missing, actions)
	}
}

// Workflows run what the tree has, and actions of others at a commit: a tag can be
// moved. Whether they are workflows at all is checked by `make verify`.
func TestWorkflows(t *testing.T) {
	files := workflows(t)
	script := regexp.MustCompile(`(?:\.ci|hack)/[\w./-]+`)
	release := regexp.MustCompile(`hack/release\.sh ([a-z]+) "\$GITHUB_REF_NAME"`)
	steps := map[string]bool{}
	var all string
	for _, file := range files {
		text := read(t, strings.TrimPrefix(file, "../"))
		all += text
		for _, action := range unpinned(text) {
			t.Errorf("%s uses %s, which is no commit with its version beside it", file, action)
		}
		for _, what := range loose(text) {
			t.Errorf("%s: %s", file, what)
		}
		for _, path := range script.FindAllString(text, -1) {
			if info, err := os.Stat("../" + path); err != nil || info.Mode().IsRegular() && info.Mode()&0o111 == 0 && filepath.Ext(path) != ".sum" && filepath.Ext(path) != ".mod" {
				t.Errorf("%s runs %s: it is not there, or cannot be run: %v", file, path, err)
			}
		}
		for _, m := range release.FindAllStringSubmatch(text, -1) {
			steps[m[1]] = true
		}
	}
	if !strings.Contains(all, "- run: .ci/run\n") || !strings.Contains(all, "PREFECT_KEDA_IMAGES: pull\n") {
		t.Error("no workflow runs .ci/run with images that are pulled")
	}
	// The tree is checked against known vulnerabilities where its database is sure to be reached.
	if !strings.Contains(read(t, ".github/workflows/ci.yaml"), "- run: go tool -modfile=hack/tools/go.mod govulncheck ./...\n") {
		t.Error("no workflow runs govulncheck")
	}
	// Each step of the script is run by the workflow, or by a person who reads RELEASING.md.
	guide := read(t, "RELEASING.md")
	for _, m := range regexp.MustCompile(`(?m)^#   hack/release\.sh ([a-z]+) `).FindAllStringSubmatch(read(t, "hack/release.sh"), -1) {
		if !steps[m[1]] && !strings.Contains(guide, "hack/release.sh "+m[1]+" v") {
			t.Errorf("nobody runs hack/release.sh %s", m[1])
		}
		delete(steps, m[1])
	}
	if len(steps) > 0 {
		t.Errorf("the script has no steps %v", steps)
	}
}
