package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

var update = flag.Bool("update", false, "write docs/licenses.md")

// build runs hack/build.sh in the copy of the tree and returns the product's binary.
func build(t *testing.T, tree string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(tree, "hack/build.sh"), "bin/linux", "prefect-keda")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+runtime.GOARCH, "VERSION=v0.0.0-test")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(tree, "bin/linux/prefect-keda")
}

// copyTree copies what belongs to the tree, as old as said.
func copyTree(t *testing.T, to string, age time.Time) {
	t.Helper()
	ls := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	ls.Dir = root
	out, err := ls.Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		info, err := os.Lstat(filepath.Join(root, name))
		if err != nil || !info.Mode().IsRegular() {
			continue // deleted, or a link
		}
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, info.Mode()); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, age, age); err != nil {
			t.Fatal(err)
		}
	}
}

// One commit makes one image: in a clone, and in an archive of another age in another folder.
func TestTwoBuildsMakeOneImage(t *testing.T) {
	clone, archive := filepath.Join(t.TempDir(), "clone"), filepath.Join(t.TempDir(), "some/where else")
	copyTree(t, clone, time.Now())
	copyTree(t, archive, time.Unix(1_000_000_000, 0))
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "all"}} {
		git := exec.CommandContext(t.Context(), "git", args...)
		git.Dir = clone
		if out, err := git.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	notices, err := notices(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var binaries, boms [][]byte
	var digests []v1.Hash
	for _, tree := range []string{clone, archive} {
		binary := build(t, tree)
		content, err := os.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		binaries = append(binaries, content)
		image, err := index("v0.0.0-test", notices, []string{binary})
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(t.TempDir(), "image")
		if err := write(to, image); err != nil {
			t.Fatal(err)
		}
		written, err := layout.ImageIndexFromPath(to)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(written); err != nil {
			t.Error(err)
		}
		digest, err := written.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest)
		if said, err := os.ReadFile(to + ".digest"); err != nil || strings.TrimSpace(string(said)) != digest.String() {
			t.Errorf("image.digest says %s (%v), the image is %s", said, err, digest)
		}
		var bom bytes.Buffer
		if err := writeSBOM(t.Context(), &bom, "v0.0.0-test", binary); err != nil {
			t.Fatal(err)
		}
		boms = append(boms, bom.Bytes())
	}
	if !bytes.Equal(binaries[0], binaries[1]) {
		t.Error("the binaries differ")
	}
	if digests[0] != digests[1] {
		t.Errorf("the images differ: %v", digests)
	}
	if !bytes.Equal(boms[0], boms[1]) {
		t.Error("the SBOMs differ")
	}
	sbomIsWhole(t, boms[0], binaries[0])
}

// sbomIsWhole compares an SBOM with what the binary itself names, and with the page.
func sbomIsWhole(t *testing.T, text, binary []byte) {
	t.Helper()
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs/licenses.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range *bom.Components {
		if len(*c.Licenses) == 0 || !strings.Contains(string(page), "| `"+c.Name+"` |") {
			t.Errorf("%s has the licenses %v, and docs/licenses.md does not have it", c.Name, c.Licenses)
		}
		if c.Name != "std" && !bytes.Contains(binary, []byte("dep\t"+c.Name+"\t"+c.Version+"\t")) {
			t.Errorf("the binary does not name %s %s", c.Name, c.Version)
		}
	}
	named := map[string]bool{}
	for _, line := range regexp.MustCompile(`\ndep\t([^\t]+\t[^\t]+)\t`).FindAllStringSubmatch(string(binary), -1) {
		named[line[1]] = true
	}
	if len(*bom.Components) != len(named)+1 || len(named) == 0 {
		t.Errorf("the SBOM has %d components, the binary names %d modules", len(*bom.Components), len(named))
	}
	if bytes.Contains(text, []byte("timestamp")) || bytes.Contains(text, []byte("serialNumber")) {
		t.Error("the SBOM says when it was made")
	}
}

func TestLicensesPage(t *testing.T) {
	page, err := table(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "docs/licenses.md")
	if *update {
		if err := os.WriteFile(path, page, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(page, committed) {
		t.Errorf("docs/licenses.md is stale (%v): run `make generate`, look at which licenses came and commit it; now it would be\n%s", err, page)
	}
}

func TestGranted(t *testing.T) {
	gpl := "This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public License as published by the Free Software Foundation, either version 3 of the License, or (at your option) any later version."
	isc := "Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted, provided that the above copyright notice and this permission notice appear in all copies.\n\nTHE SOFTWARE IS PROVIDED \"AS IS\" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE."
	for name, test := range map[string]struct {
		files map[string]string
		want  string // a license, or of an error
	}{
		"allowed":             {map[string]string{"LICENSE": isc}, "ISC"},
		"beside what grants":  {map[string]string{"LICENSE": isc, "NOTICE": "Copyright somebody", "license.go": gpl}, "ISC"},
		"one of two is not":   {map[string]string{"LICENSE": isc, "taken/COPYING": gpl}, "taken/COPYING is under GPL-3.0"},
		"elsewhere, unlinked": {map[string]string{"LICENSE": isc, "unlinked/COPYING": gpl}, "ISC"},
		"none":                {map[string]string{"README": isc}, "no license is found"},
		"unknown words":       {map[string]string{"LICENSE": "Do what I say."}, "an unknown license"},
		"more than a notice":  {map[string]string{"LICENSE": isc + "\n\n" + strings.Repeat("You owe me a house for each copy that you make of this. ", 40)}, "an unknown license"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, of := range []string{"taken", "unlinked"} {
				if err := os.Mkdir(filepath.Join(dir, of), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for file, words := range test.files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(words), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			m := module{path: "example.com/m", version: "v1.0.0", dir: dir, packages: []string{filepath.Join(dir, "taken")}}
			texts, err := m.texts()
			if err != nil {
				t.Fatal(err)
			}
			ids, err := granted(m, texts)
			got := strings.Join(ids, ", ")
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// Every license text of every module is in the image.
func TestNotices(t *testing.T) {
	all, err := notices(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	modules, err := linked(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range modules {
		if !bytes.Contains(all, []byte("\n"+m.path+" "+m.version+" ")) {
			t.Errorf("%s is missing", m.path)
		}
	}
	t.Logf("%d modules, %d bytes", len(modules), len(all))
}

// The Dockerfile makes images for trying things, hack/supply those of releases. Programs
// must not see which one they run in.
func TestImageIsTheDockerfiles(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.ReplaceAll(string(text), "\\\n", " ")
	dockerfile := strings.NewReplacer("${BINARY}", "prefect-keda", "${VERSION}", "v1.2.3").Replace(lines)
	image, err := image("v1.2.3", v1.Platform{OS: "linux", Architecture: "arm64"}, []file{{"usr/local/bin/app", 0o755, []byte("program")}})
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	var entrypoint []string
	if err := json.Unmarshal([]byte(regexp.MustCompile(`(?m)^ENTRYPOINT (.*)$`).FindStringSubmatch(dockerfile)[1]), &entrypoint); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(config.Config.Entrypoint, entrypoint) {
		t.Errorf("entrypoint %v, the Dockerfile has %v", config.Config.Entrypoint, entrypoint)
	}
	if user := regexp.MustCompile(`(?m)^USER (.*)$`).FindStringSubmatch(dockerfile)[1]; config.Config.User != user {
		t.Errorf("user %s, the Dockerfile has %s", config.Config.User, user)
	}
	labels := map[string]string{}
	for _, m := range regexp.MustCompile(`(org\.opencontainers[\w.]+)=("[^"]*"|\S+)`).FindAllStringSubmatch(dockerfile, -1) {
		labels[m[1]] = strings.Trim(m[2], `"`)
	}
	for name, value := range labels {
		if config.Config.Labels[name] != value {
			t.Errorf("label %s is %q, the Dockerfile has %q", name, config.Config.Labels[name], value)
		}
	}
	if len(labels) != len(config.Config.Labels) || len(labels) == 0 {
		t.Errorf("labels %v, the Dockerfile has %v", config.Config.Labels, labels)
	}
	if config.Architecture != "arm64" || config.OS != "linux" {
		t.Errorf("for %s/%s", config.OS, config.Architecture)
	}
	unpacked := mutate.Extract(image)
	defer func() { _ = unpacked.Close() }()
	if content, err := io.ReadAll(unpacked); err != nil || !bytes.Contains(content, []byte("program")) {
		t.Error("the program is not in the image", err)
	}
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	to := filepath.Join(t.TempDir(), "to")
	for want, args := range map[string][]string{
		"say what to make":      {},
		"-to is missing":        {"sbom"},
		"none of image":         {"picture", "-to", to},
		"an SBOM is of one":     {"sbom", "-to", to},
		"needs -version":        {"image", "-to", to, "supply_test.go"},
		"could not read Go bui": {"sbom", "-to", to, "-version", "v1", "supply_test.go"},
	} {
		if err := run(context.Background(), args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
	}
	mac := &buildinfo.BuildInfo{Settings: []debug.BuildSetting{{Key: "GOARCH", Value: "arm64"}, {Key: "GOOS", Value: "darwin"}}}
	if _, err := platformOf(mac); err == nil || !strings.Contains(err.Error(), "is for darwin") {
		t.Errorf("an image of a binary for darwin: %v", err)
	}
}
