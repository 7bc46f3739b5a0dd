package main

import (
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sample = `package p

func f(ctx context.Context, a, b int) int {
	began := time.Now()
	if a > 0 && ready() {
		b = max(a, 2)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	switch {
	case b == 2:
		log.Info("two")
		send(began)
	}
	for a < b {
		a++
		continue
	}
	return a
}
`

func TestOperators(t *testing.T) {
	found, err := mutantsIn("p.go", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range found {
		broken := m.apply([]byte(sample))
		if _, err := parser.ParseFile(token.NewFileSet(), m.file, broken, 0); err != nil {
			t.Errorf("%s: %v", m, err)
		}
		line := strings.Split(string(broken), "\n")[m.line-1]
		if strings.HasPrefix(m.change, "left out") {
			line = ""
		}
		got = append(got, strings.TrimSpace(m.change+" | "+strings.TrimSpace(line)))
	}
	want := []string{
		"always: a > 0 && ready() | if (a > 0 && ready()) || true {",
		"never: a > 0 && ready() | if (a > 0 && ready()) && false {",
		"without && ready() | if a > 0 {",
		"without a > 0 && | if ready() {",
		">= in a > 0 | if a >= 0 && ready() {",
		"left out: b = max(a, 2) |",
		"max(a, 2) is only a | b = a",
		"max(a, 2) is only 2 | b = 2",
		"no timeout of limit | ctx, cancel := context.WithTimeout(ctx, 1000*(limit))",
		"left out: defer cancel() |",
		"always: b == 2 | case (b == 2) || true:",
		"never: b == 2 | case (b == 2) && false:",
		"!= in b == 2 | case b != 2:",
		"left out: send(began) |",
		"began is now, not then | send(began.Add(time.Since(began)))",
		"<= in a < b | for a <= b {",
		"left out: a++ |",
		"left out: continue |",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("breakages (-want +got):\n%s", diff)
	}
}

func TestHunks(t *testing.T) {
	const src = "package p\n\nfunc f() {\n\tg()\n\th()\n\th()\n}\n"
	for name, tc := range map[string]struct{ hunk, want string }{
		"a line left out":           {"@@ p.go TestF @@ why\n-\tg()\n", "package p\n\nfunc f() {\n\th()\n\th()\n}\n"},
		"a line changed":            {"# told\n@@ p.go TestF @@ why\n func f() {\n-\tg()\n+\tk()\n\n", "package p\n\nfunc f() {\n\tk()\n\th()\n\th()\n}\n"},
		"one of several":            {"@@ p.go TestF @@ why\n \tg()\n-\th()\n", "package p\n\nfunc f() {\n\tg()\n\th()\n}\n"},
		"not in the file":           {"@@ p.go TestF @@ why\n-\tgone()\n", ""},
		"in the file twice":         {"@@ p.go TestF @@ why\n-\th()\n", ""},
		"part of a line":            {"@@ p.go TestF @@ why\n-g()\n", ""},
		"changes nothing":           {"@@ p.go TestF @@ why\n \tg()\n", ""},
		"without lines":             {"@@ p.go TestF @@ why\n", ""},
		"without a test":            {"@@ p.go @@ why\n-\tg()\n", ""},
		"a line that is not marked": {"@@ p.go TestF @@ why\ng()\n", ""},
	} {
		var got string
		hunks, err := parseHunks(tc.hunk)
		if err == nil {
			if m, fits := hunks[0].in([]byte(src)); fits {
				got = string(m.apply([]byte(src)))
			}
		}
		if got != tc.want {
			t.Errorf("%s: got %q (%v), want %q", name, got, err, tc.want)
		}
	}
}

// Whoever changes a guard changes its hunk too, or learns of it here.
func TestGuardsFitTheTree(t *testing.T) {
	t.Chdir("../..")
	guards, err := readGuards(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range guards {
		if !hasTest(t, g) {
			t.Errorf("%s: its package has no %s", g, g.test)
		}
	}
}

func hasTest(t *testing.T, g mutant) bool {
	t.Helper()
	entries, err := os.ReadDir(g.pkg)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "_test.go") {
			text, err := os.ReadFile(g.pkg + "/" + e.Name())
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), "\nfunc "+g.test+"(t *testing.T)") {
				return true
			}
		}
	}
	return false
}

func TestProfile(t *testing.T) {
	reached := parseProfile("./p", "mode: set\nexample.com/m/p/a.go:3.10,5.2 2 1\nexample.com/m/p/a.go:7.2,9.3 1 0\nexample.com/m/p/b.go:1.1,2.2 1 12\n")
	for file, want := range map[string][]bool{"p/a.go": {false, true, true, false, false}, "p/b.go": {true, false, false, false, false}} {
		for i, line := range []int{2, 3, 5, 6, 8} {
			if got := reached.has(mutant{file: file, line: line}); got != want[i] {
				t.Errorf("%s:%d reached: %v, want %v", file, line, got, want[i])
			}
		}
	}
}
