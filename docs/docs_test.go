// Package docs holds no code: its test holds what the documents say against the
// manifests, the Makefile and the tree.
package docs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{"README.md": read(t, "README.md"), "CONTRIBUTING.md": read(t, "CONTRIBUTING.md")}
	names, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		texts["docs/"+name] = read(t, "docs/"+name)
	}
	return texts
}

func TestMakeTargetsExist(t *testing.T) {
	makefile := read(t, "Makefile")
	target := regexp.MustCompile("(?m)(?:`|^ +)make ([a-z0-9-]+)")
	for name, text := range documents(t) {
		for _, m := range target.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(makefile, "\n"+m[1]+": ") {
				t.Errorf("%s speaks of `make %s`, which the Makefile does not have", name, m[1])
			}
		}
	}
}

func TestLinkedAndNamedFilesExist(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	path := regexp.MustCompile("(?:`|kubectl apply -k |EDITOR )((?:manifests|docs|scaler|launcher|job|prefect|e2e|hack|config)/[a-z0-9./_-]+)")
	for name, text := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join("..", filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			}
		}
		for _, m := range path.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join("..", strings.TrimRight(m[1], "."))); err != nil {
				t.Errorf("%s names %s: %v", name, m[1], err)
			}
		}
	}
}

// The tuning table says what is shipped.
func TestTuningTable(t *testing.T) {
	var so struct {
		Spec map[string]any `json:"spec"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "manifests/base/launcher/scaledobject.yaml")), &so); err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-zA-Z]+)` \\| ([0-9]+)( s)? \\| ")
	seen := 0
	for _, m := range row.FindAllStringSubmatch(read(t, "README.md"), -1) {
		shipped, ok := so.Spec[m[1]]
		if !ok {
			continue
		}
		seen++
		if want, err := strconv.ParseFloat(m[2], 64); err != nil || shipped != want {
			t.Errorf("README says %s is %s, the ScaledObject has %v", m[1], m[2], shipped)
		}
	}
	if seen < 3 {
		t.Errorf("found only %d rows of the tuning table in the README", seen)
	}
}

// Every variable of ours that a document names is a setting.
func TestSettingsExist(t *testing.T) {
	settings := read(t, "docs/settings.md")
	variable := regexp.MustCompile(`PREFECT_(?:KEDA)?_[A-Z_]+`)
	// These steer the tests, not the product.
	tooling := []string{"PREFECT_KEDA_CACHE", "PREFECT_KEDA_IMAGES"}
	for name, text := range documents(t) {
		for _, v := range variable.FindAllString(text, -1) {
			if !strings.Contains(settings, v) && !strings.Contains(strings.Join(tooling, " "), v) {
				t.Errorf("%s names %s, which is no setting", name, v)
			}
		}
	}
}

// The migration page leaves out nothing that the agent could be told.
func TestMigrationNamesEverySettingOfTheAgent(t *testing.T) {
	page := read(t, "docs/migrate.md")
	row := regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| `(--[a-z-]+)")
	seen := 0
	for _, m := range row.FindAllStringSubmatch(read(t, "docs/settings.md"), -1) {
		if name := m[1]; !strings.HasPrefix(name, "PREFECT_KEDA_") && name != "KUBECONFIG" {
			seen++
			if !strings.Contains(page, "`"+name+"`") {
				t.Errorf("the migration page does not say what becomes of %s (%s)", name, m[2])
			}
		}
	}
	if seen < 15 {
		t.Errorf("found only %d of the agent's settings in docs/settings.md", seen)
	}
}

// The kustomization in the README is one: an overlay as users write it.
func TestReadmeKustomization(t *testing.T) {
	_, rest, _ := strings.Cut(read(t, "README.md"), "<!-- kustomization:begin")
	_, rest, _ = strings.Cut(rest, "```yaml\n")
	text, _, found := strings.Cut(rest, "```")
	if !found || strings.Count(text, "\n") != 3 {
		t.Fatalf("there is no kustomization of three lines in the README: %q", text)
	}
	var k struct {
		Kind                  string
		Resources, Components []string
	}
	if err := yaml.UnmarshalStrict([]byte(text), &k); err != nil {
		t.Fatal(err)
	}
	memory := filesys.MakeFsInMemory()
	err := filepath.WalkDir("../manifests", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		file, err := os.ReadFile(path)
		return errors.Join(err, memory.WriteFile(strings.TrimPrefix(path, "../"), file))
	})
	if err := errors.Join(err, memory.WriteFile("manifests/overlays/mine/kustomization.yaml", []byte(text))); err != nil {
		t.Fatal(err)
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(memory, "manifests/overlays/mine")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, r := range built.Resources() {
		kinds[r.GetKind()] = true
	}
	if !kinds["ScaledJob"] || !kinds["NetworkPolicy"] || !kinds["TriggerAuthentication"] || kinds["ScaledObject"] {
		t.Errorf("it builds %v", kinds)
	}
}

// What deletes what is ours names every kind we install, and everything of ours has
// the label it asks for.
func TestUninstallNamesEveryKind(t *testing.T) {
	m := regexp.MustCompile(`delete (scaledobject[a-z,]+) -l (\S+)`).FindStringSubmatch(read(t, "README.md"))
	if m == nil {
		t.Fatal("the README does not say how to uninstall")
	}
	key, value, _ := strings.Cut(m[2], "=")
	for _, folder := range []string{"overlays/hardened", "overlays/scaledjob", "overlays/two-teams", "overlays/prefect-cloud"} {
		built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../manifests/"+folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range built.Resources() {
			kind := strings.ToLower(r.GetKind())
			if kind != "namespace" && (!strings.Contains(","+m[1]+",", ","+kind+",") || r.GetLabels()[key] != value) {
				t.Errorf("%s: %s %s would be left", folder, r.GetKind(), r.GetName())
			}
		}
	}
}
