package docs

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The pages of docs/spec hold the facts that comments refer to.

// pages are their sections, as they follow each other, by the page's name.
type pages map[string][]section

type section struct {
	sign       string
	background bool
}

const sign = `§([0-9]+(?:\.[0-9]+)*(?:-B[0-9]+)?|[a-z]\b)`

// specPages reads the headings.
func specPages(t *testing.T) pages {
	t.Helper()
	heading := regexp.MustCompile(`(?m)^#+ ` + sign + ` \S.*$`)
	all := pages{}
	for name, text := range specTexts(t) {
		for _, m := range heading.FindAllStringSubmatch(text, -1) {
			all[name] = append(all[name], section{m[1], strings.HasSuffix(m[0], " (background)")})
		}
	}
	delete(all, "README")
	return all
}

func specTexts(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	files, err := filepath.Glob("spec/*.md")
	if err != nil || len(files) == 0 {
		t.Fatal("no pages in docs/spec", err)
	}
	for _, file := range files {
		texts[strings.TrimSuffix(filepath.Base(file), ".md")] = read(t, "docs/"+file)
	}
	return texts
}

// sources are all texts of the tree, by path.
func sources(t *testing.T) map[string]string {
	t.Helper()
	kinds := []string{".go", ".md", ".yaml", ".yml", ".sh", ".py", ".graphql", ".diff"}
	texts := map[string]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, ".."+string(filepath.Separator)))
		if d.IsDir() && (name == "bin" || strings.HasPrefix(d.Name(), ".") && d.Name() != ".." && d.Name() != ".ci" && d.Name() != ".github") {
			return fs.SkipDir
		}
		if d.IsDir() || !slices.Contains(kinds, filepath.Ext(name)) || name == "docs/spec_test.go" {
			return nil
		}
		b, err := os.ReadFile(path)
		texts[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// find returns where a section is among those of its page, -1 for nowhere.
func (p pages) find(page, sign string) int {
	return slices.IndexFunc(p[page], func(s section) bool { return s.sign == sign })
}

// within reports whether a section is another or stands below it.
func within(sign, above string) bool {
	return sign == above || strings.HasPrefix(sign, above+".") || strings.HasPrefix(sign, above+"-")
}

// references finds what text refers to: each section by page and sign. A page's own
// text need not name it. What is wrong is returned as a problem.
func (p pages) references(text, own string) (found map[string][]string, problems []string) {
	// A reference may go on in the next line of a comment.
	text = regexp.MustCompile(`\n[ \t+-]*(?://|#)?[ \t]*`).ReplaceAllString(text, " ")
	found = map[string][]string{}
	one := regexp.MustCompile(sign)
	for _, m := range regexp.MustCompile(`(?:([a-zA-Z0-9-]+) )?(`+sign+`(?:(?:, | and |–)`+sign+`)*|§)`).FindAllStringSubmatch(text, -1) {
		page := m[1]
		if _, known := p[page]; !known && own != "" {
			page = own
		}
		signs := one.FindAllStringSubmatchIndex(m[2], -1)
		if len(signs) == 0 || p[page] == nil {
			problems = append(problems, fmt.Sprintf("%q names no page of docs/spec and its section, as in prefect1 §5.3", m[0]))
			continue
		}
		from := -1
		for i, at := range signs {
			s := m[2][at[2]:at[3]]
			n := p.find(page, s)
			if n < 0 {
				problems = append(problems, fmt.Sprintf("%s §%s is not there", page, s))
				continue
			}
			found[page] = append(found[page], s)
			if i > 0 && from >= 0 && strings.HasSuffix(m[2][:at[0]], "–") {
				for _, between := range p[page][min(from, n):n] {
					found[page] = append(found[page], between.sign)
				}
			}
			from = n
		}
	}
	return found, problems
}

// Every reference leads somewhere, and every section is there for something.
func TestSpecReferences(t *testing.T) {
	all := specPages(t)
	used := map[string][]string{}
	file := regexp.MustCompile(`docs/spec/([a-z0-9-]+)\.md`)
	for name, text := range sources(t) {
		own := ""
		if dir, base := filepath.Split(name); dir == "docs/spec/" {
			if own = strings.TrimSuffix(base, ".md"); own == "README" {
				continue // explains the form
			}
			text = regexp.MustCompile(`(?m)^#.*$`).ReplaceAllString(text, "")
		}
		found, problems := all.references(text, own)
		for _, problem := range problems {
			t.Errorf("%s: %s", name, problem)
		}
		for _, m := range file.FindAllStringSubmatch(text, -1) {
			if all[m[1]] == nil {
				t.Errorf("%s: %s is not there", name, m[0])
			}
		}
		if own != "" {
			continue
		}
		for page, signs := range found {
			used[page] = append(used[page], signs...)
		}
	}
	if len(used["prefect1"]) < 50 || len(used["prefect1-server"]) < 20 || len(used["keda"]) < 5 {
		t.Fatalf("found too few references: %d, %d, %d", len(used["prefect1"]), len(used["prefect1-server"]), len(used["keda"]))
	}
	for _, page := range slices.Sorted(maps.Keys(all)) {
		for _, s := range all[page] {
			is := slices.ContainsFunc(used[page], func(u string) bool { return within(s.sign, u) || within(u, s.sign) })
			switch {
			case !is && !s.background:
				t.Errorf("nothing refers to %s §%s: delete it, or end its heading with (background)", page, s.sign)
			case is && s.background && slices.Contains(used[page], s.sign):
				t.Errorf("something refers to %s §%s: take (background) from its heading", page, s.sign)
			}
		}
	}
}

// A section is there once and says how its facts are known. The packages and tests
// that it names exist.
func TestSpecSections(t *testing.T) {
	test := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`)
	tests := map[string][]string{} // by package
	for name, text := range sources(t) {
		if strings.HasSuffix(name, "_test.go") {
			for _, m := range test.FindAllStringSubmatch(text, -1) {
				tests[path.Dir(name)] = append(tests[path.Dir(name)], m[1])
			}
		}
	}
	heading := regexp.MustCompile(`(?m)^#+ §.*$`)
	reliedOn := regexp.MustCompile(`Relied on by: (.*)\*\n`)
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	for name, text := range specTexts(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join("spec", m[1])); err != nil {
				t.Errorf("docs/spec/%s.md links to %s: %v", name, m[1], err)
			}
		}
		if name == "README" {
			continue
		}
		seen := map[string]bool{}
		for _, s := range specPages(t)[name] {
			if seen[s.sign] {
				t.Errorf("%s §%s is there twice", name, s.sign)
			}
			seen[s.sign] = true
		}
		at := heading.FindAllStringIndex(text, -1)
		if len(at) != len(seen) {
			t.Errorf("docs/spec/%s.md has %d headings with a §, %d of which can be referred to", name, len(at), len(seen))
		}
		for i, h := range at {
			body := text[h[1]:]
			if i+1 < len(at) {
				body = text[h[1]:at[i+1][0]]
			}
			if strings.TrimSpace(body) != "" && !strings.Contains(body, "\n*Known: ") {
				t.Errorf("docs/spec/%s.md: %q does not say how its facts are known", name, text[h[0]:h[1]])
			}
		}
		for _, m := range reliedOn.FindAllStringSubmatch(text, -1) {
			for _, named := range regexp.MustCompile("`([a-z0-9/-]+)`(?: \\(([^)]*)\\))?").FindAllStringSubmatch(m[1], -1) {
				if _, err := os.Stat(filepath.Join("..", named[1])); err != nil {
					t.Errorf("docs/spec/%s.md: %v", name, err)
				}
				for _, of := range regexp.MustCompile(`\bTest[A-Za-z0-9]+`).FindAllString(named[2], -1) {
					if !slices.Contains(tests[named[1]], of) {
						t.Errorf("docs/spec/%s.md: %s has no %s", name, named[1], of)
					}
				}
			}
		}
	}
}
