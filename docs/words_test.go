package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/launcher"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// rows are the cells of a page's tables, without what is no row of a table of so many
// columns.
func rows(text string, columns int) [][]string {
	var all [][]string
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "|") || len(cells) != columns || strings.HasPrefix(cells[0], "---") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		all = append(all, cells)
	}
	return all
}

// actions are the kinds there are, as launchers spell them.
func actions() []string {
	var all []string
	for k := launcher.Launch; k.String() != launcher.Kind(0).String(); k++ {
		all = append(all, k.String())
	}
	return all
}

// Each word of the glossary says where it lives, and those of closed sets are all there.
func TestGlossary(t *testing.T) {
	page := read(t, "docs/glossary.md")
	place := regexp.MustCompile("`[a-z0-9-]+/[^`]+`")
	words := map[string]int{}
	for _, row := range rows(page, 3) {
		words[row[0]]++
		if row[0] != "word" && !place.MatchString(row[2]) {
			t.Errorf("%q does not say where it lives", row[0])
		}
	}
	for _, action := range actions() {
		if words[action] == 0 {
			t.Errorf("the action %q is not explained", action)
		}
	}
	for word, n := range words {
		if n > 1 && word != "word" && word != "heartbeat" { // what Prefect knows of, and what launchers do
			t.Errorf("%q is explained %d times", word, n)
		}
	}
	want := []string{"kind"}
	for _, k := range trouble.Kinds() {
		want = append(want, "`"+string(k)+"`")
	}
	var kinds []string
	for _, row := range rows(page, 2) {
		kinds = append(kinds, row[0])
	}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("kinds of trouble (-want +explained):\n%s", diff)
	}
	for _, row := range rows(page, 4) {
		if row[0] != "today" && !place.MatchString(row[1]) {
			t.Errorf("where %q is in use is not said", row[0])
		}
	}
}

// Each arrow of the diagrams is a row of the table, by number and word, and no row is
// without one.
func TestStatesOfARun(t *testing.T) {
	_, text, begins := strings.Cut(read(t, "docs/how-it-works.md"), "<!-- states:begin")
	text, _, ends := strings.Cut(text, "<!-- states:end -->")
	if !begins || !ends {
		t.Fatal("there is no diagram")
	}
	var drawn, told []string
	for _, m := range regexp.MustCompile(`(?m)^ +\S+ --> \S+: (\d+) (.+)$`).FindAllStringSubmatch(text, -1) {
		drawn = append(drawn, m[1]+" "+m[2])
	}
	for i, row := range rows(text, 5) {
		if i == 0 {
			continue
		}
		if row[0] != fmt.Sprint(i) {
			t.Errorf("row %d has the number %s", i, row[0])
		}
		told = append(told, row[0]+" "+row[1])
	}
	slices.Sort(told)
	slices.Sort(drawn)
	if diff := cmp.Diff(told, slices.Compact(drawn)); diff != "" {
		t.Errorf("arrows (-told +drawn):\n%s", diff)
	}
	for _, action := range actions() {
		if !strings.Contains(text, " "+action+" |") && !strings.Contains(text, "**"+action+"**") {
			t.Errorf("the action %q is not there", action)
		}
	}
}

// Decisions are numbered, listed, and of one form.
func TestDecisions(t *testing.T) {
	pages, err := filepath.Glob("adr/[0-9]*.md")
	if err != nil {
		t.Fatal(err)
	}
	heading := regexp.MustCompile(`(?m)^#+ .*$`)
	var want []string
	for i, page := range pages {
		text := read(t, "docs/"+page)
		title, _, _ := strings.Cut(strings.TrimPrefix(text, fmt.Sprintf("# %d. ", i+1)), "\n")
		form := []string{fmt.Sprintf("# %d. %s", i+1, title), "## Context", "## Decision", "## Price", "## Tested"}
		if diff := cmp.Diff(form, heading.FindAllString(text, -1)); diff != "" || !strings.HasPrefix(page, fmt.Sprintf("adr/%04d-", i+1)) {
			t.Errorf("%s (-want +got):\n%s", page, diff)
		}
		if _, tested, _ := strings.Cut(text, "## Tested"); !named.MatchString(tested) {
			t.Errorf("%s names no test", page)
		}
		want = append(want, fmt.Sprintf("[%s](%s)", title, filepath.Base(page)))
	}
	var listed []string
	for _, row := range rows(read(t, "docs/adr/README.md"), 2)[1:] {
		listed = append(listed, row[1])
	}
	if diff := cmp.Diff(want, listed); diff != "" || len(want) == 0 {
		t.Errorf("the list (-want +got):\n%s", diff)
	}
}

// named is a test by its name.
var named = regexp.MustCompile("`(Test[A-Z][A-Za-z0-9]+)`")

// A test that a document names is somewhere in the tree.
func TestNamedTestsExist(t *testing.T) {
	function := regexp.MustCompile(`(?m)^func (Test[A-Z][A-Za-z0-9]+)\(`)
	there := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range function.FindAllSubmatch(text, -1) {
			there[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range documents(t) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if !there[m[1]] {
				t.Errorf("%s names %s, which is no test", name, m[1])
			}
		}
	}
}
