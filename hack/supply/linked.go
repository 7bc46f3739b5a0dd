package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// platforms are those that a release has binaries for.
func platforms() []string {
	return []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64"}
}

// A module has packages that are linked into the product's binary on some platform.
type module struct {
	path, version, dir string
	// packages are the folders of its linked packages.
	packages []string
}

// A text is a file of a module that speaks of its license.
type text struct {
	module string
	name   string // within the module
	words  string
	// licenses are the SPDX identifiers of what the file grants; a notice grants nothing.
	licenses []string
}

// linked are the modules in the product's binary, sorted by path, and the standard library
// of this Go as the module std.
func linked(ctx context.Context) ([]module, error) {
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("find the standard library: %w", err)
	}
	modules := map[string]*module{
		"std": {path: "std", version: strings.TrimPrefix(runtime.Version(), "go"), dir: strings.TrimSpace(string(goroot))},
	}
	for _, platform := range platforms() {
		goos, goarch, _ := strings.Cut(platform, "/")
		list := exec.CommandContext(ctx, "go", "list", "-deps", "-json=Dir,Module,Standard", "./cmd/prefect-keda")
		list.Dir = root
		list.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch)
		list.Stderr = os.Stderr
		out, err := list.Output()
		if err != nil {
			return nil, fmt.Errorf("list the packages for %s: %w", platform, err)
		}
		packages := json.NewDecoder(strings.NewReader(string(out)))
		for {
			var of struct {
				Dir      string
				Standard bool
				Module   *struct {
					Path, Version, Dir string
					Main               bool
					Replace            *struct{ Path string }
				}
			}
			if err := packages.Decode(&of); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, err
			}
			switch {
			case of.Standard || of.Module.Main:
				continue
			case of.Module.Replace != nil:
				return nil, fmt.Errorf("%s is replaced by %s, which this does not follow", of.Module.Path, of.Module.Replace.Path)
			case modules[of.Module.Path] == nil:
				modules[of.Module.Path] = &module{path: of.Module.Path, version: of.Module.Version, dir: of.Module.Dir}
			}
			m := modules[of.Module.Path]
			m.packages = append(m.packages, of.Dir)
		}
	}
	var all []module
	for _, m := range modules {
		slices.Sort(m.packages)
		m.packages = slices.Compact(m.packages)
		all = append(all, *m)
	}
	slices.SortFunc(all, func(a, b module) int { return strings.Compare(a.path, b.path) })
	return all, nil
}

// texts are the license files beside a module's linked packages and in the folders above
// them. That finds what a module has taken from others with their license, too.
func (m module) texts() ([]text, error) {
	folders := map[string]bool{m.dir: true}
	for _, dir := range m.packages {
		for ; len(dir) > len(m.dir); dir = filepath.Dir(dir) {
			folders[dir] = true
		}
	}
	speaks := regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|notice|patents)([.-].*)?$`)
	var all []text
	for folder := range folders {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return nil, fmt.Errorf("the license of %s: %w", m.path, err)
		}
		for _, entry := range entries {
			if !speaks.MatchString(entry.Name()) || !entry.Type().IsRegular() || strings.HasSuffix(entry.Name(), ".go") {
				continue
			}
			words, err := os.ReadFile(filepath.Join(folder, entry.Name()))
			if err != nil {
				return nil, err
			}
			name, err := filepath.Rel(m.dir, filepath.Join(folder, entry.Name()))
			if err != nil {
				return nil, err
			}
			all = append(all, text{module: m.path, name: filepath.ToSlash(name), words: string(words), licenses: licenses(entry.Name(), words)})
		}
	}
	slices.SortFunc(all, func(a, b text) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// unknown stands for the license in a file that says more than the known licenses do.
const unknown = "an unknown license"

// licenses are the identifiers of the licenses in a file, sorted. Like pkg.go.dev, it takes
// three quarters of a license file for the whole; a notice may say what it likes.
func licenses(name string, words []byte) []string {
	var ids []string
	found := licensecheck.Scan(words)
	for _, match := range found.Match {
		if !match.IsURL && match.ID != "GooglePatentsFile" { // which takes nothing of the license beside it away
			ids = append(ids, match.ID)
		}
	}
	if found.Percent < 75 && !strings.HasPrefix(strings.ToLower(name), "notice") {
		ids = append(ids, unknown)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
