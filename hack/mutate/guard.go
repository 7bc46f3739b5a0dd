package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// guardsFile lists guards as hunks of a patch. Their first lines have no line numbers,
// which would go stale. They name the test that must notice (of the file's package, or of
// the one before the slash) and say why it matters.
const guardsFile = "hack/mutate/guards.diff"

// hunk holds lines that a file must have exactly once, and their replacement.
type hunk struct {
	file, test, why string
	old, new        string
}

func parseHunks(text string) ([]hunk, error) {
	head := regexp.MustCompile(`^@@ (\S+\.go) ((?:\S+/)?Test\w+) @@ (.+)$`)
	var all []hunk
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		m := head.FindStringSubmatch(line)
		switch {
		case m != nil:
			all = append(all, hunk{file: m[1], test: m[2], why: m[3]})
		case line == "", line[0] == '#':
		case len(all) == 0, !strings.ContainsRune(" -+", rune(line[0])):
			return nil, fmt.Errorf("%s: %q is neither \"@@ file.go TestName @@ why\" nor a line with a space, - or + before it", guardsFile, line)
		default:
			h := &all[len(all)-1]
			if line[0] != '+' {
				h.old += line[1:] + "\n"
			}
			if line[0] != '-' {
				h.new += line[1:] + "\n"
			}
		}
	}
	return all, nil
}

// readGuards reads the guards of the tree at root, as mutants without them.
func readGuards(root string) ([]mutant, error) {
	text, err := os.ReadFile(filepath.Join(root, guardsFile))
	if err != nil {
		return nil, fmt.Errorf("read the guards: %w", err)
	}
	hunks, err := parseHunks(string(text))
	errs := []error{err}
	var all []mutant
	for _, h := range hunks {
		src, err := os.ReadFile(filepath.Join(root, h.file))
		m, fits := h.in(src)
		if errs = append(errs, err); !fits {
			errs = append(errs, fmt.Errorf("%s: %s: its lines are missing, or not unique; if they have changed, change %s too:\n%s", h.file, h.why, guardsFile, h.old))
		}
		all = append(all, m)
	}
	return all, errors.Join(errs...)
}

// in applies the hunk to a file, if it fits.
func (h hunk) in(src []byte) (m mutant, fits bool) {
	whole := []byte("\n" + h.old)
	at := bytes.Index(src, whole) + 1
	fits = at > 0 && h.old != "" && h.old != h.new && bytes.LastIndex(src, whole)+1 == at
	line := 1 + bytes.Count(src[:at], []byte("\n"))
	pkg, test := filepath.Split(h.test)
	if pkg == "" {
		pkg = filepath.Dir(h.file)
	}
	return mutant{file: h.file, line: line, change: h.why, pkg: filepath.Clean(pkg), test: test, from: at, to: at + len(h.old), text: h.new}, fits
}
