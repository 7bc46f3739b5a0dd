package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Workflows run what the tree has, and actions of others at a commit: a tag can be
// moved. Whether they are workflows at all is checked by `make verify`.
func TestWorkflows(t *testing.T) {
	files, err := filepath.Glob("../.github/workflows/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no workflows", err)
	}
	uses := regexp.MustCompile(`uses: *(.*)`)
	pinned := regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	script := regexp.MustCompile(`(?:\.ci|hack)/[\w./-]+`)
	release := regexp.MustCompile(`hack/release\.sh ([a-z]+) "\$GITHUB_REF_NAME"`)
	steps := map[string]bool{}
	var all string
	for _, file := range files {
		text := read(t, strings.TrimPrefix(file, "../"))
		all += text
		for _, m := range uses.FindAllStringSubmatch(text, -1) {
			if !strings.HasPrefix(m[1], "./") && !pinned.MatchString(m[1]) {
				t.Errorf("%s uses %s, which is no commit with its version beside it", file, m[1])
			}
		}
		for _, path := range script.FindAllString(text, -1) {
			if info, err := os.Stat("../" + path); err != nil || info.Mode().IsRegular() && info.Mode()&0o111 == 0 && filepath.Ext(path) != ".sum" {
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
