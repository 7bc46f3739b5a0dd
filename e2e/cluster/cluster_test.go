package cluster

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKeyTellsInputsApart(t *testing.T) {
	if key("ab", "c") == key("a", "bc") {
		t.Error("the boundary between two inputs does not count")
	}
	if key("a", "b") != key("a", "b") {
		t.Error("the same inputs give different keys")
	}
}

func TestKindConfig(t *testing.T) {
	base := "kind: Cluster\nname: prefect-keda\n"
	if got := kindConfig(base, true); got != base {
		t.Errorf("where images are pulled the config is changed: %q", got)
	}
	want := "kind: Cluster\nname: prefect-keda\nnetworking:\n  disableDefaultCNI: true\n"
	if got := kindConfig(base, false); got != want {
		t.Errorf("kindConfig = %q, want %q", got, want)
	}
}

func TestOutdated(t *testing.T) {
	want := fingerprint{Image: "node:1", Config: "c", KEDA: "2"}
	record := func(f fingerprint) []byte {
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	same := fingerprint{Image: "node:1", Config: "c", KEDA: "2", Container: "id"}
	otherImage := same
	otherImage.Image = "node:0"
	for _, tc := range []struct {
		name, container, why string
		recorded             []byte
	}{
		{"usable", "id true", "", record(same)},
		{"no record", "id true", "nothing is known of the one there", nil},
		{"half a record", "id true", "nothing is known of the one there", []byte(`{"Ima`)},
		{"made by hand since", "other true", "it is not the one brought up last", record(same)},
		{"other node image", "id true", "it is made of other pieces than this tree asks for", record(otherImage)},
		{"stopped", "id false", "it is stopped", record(same)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := outdated(tc.recorded, tc.container, want); got != tc.why {
				t.Errorf("outdated = %q, want %q", got, tc.why)
			}
		})
	}
}

func TestHoldsSysResource(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\tx\nCapBnd:\t000001ffffffffff\n": true,
		"Name:\tx\nCapBnd:\t000001fffeffffff\n": false,
		"Name:\tx\n":                            true,
	} {
		if got := holdsSysResource(status); got != want {
			t.Errorf("holdsSysResource(%q) = %v, want %v", status, got, want)
		}
	}
}

// The wrapper is a shell script, so it is run: with a runc that prints its arguments.
func TestRuntimeWrapperDropsTheCapability(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		t.Log("jq is not installed here; the cluster installs it, and its start proves the wrapper")
		return
	}
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("runc", "#!/bin/sh\necho \"$@\"\n", 0o755)
	wrapper := write("wrapper", runtimeWrapper, 0o755)
	bundle := write("bundle/config.json", `{"process":{"args":["x"],"capabilities":{"bounding":["CAP_CHOWN","CAP_SYS_RESOURCE"],"ambient":null}}}`, 0o644)
	process := write("process.json", `{"args":["y"],"capabilities":{"effective":["CAP_SYS_RESOURCE"]}}`, 0o644)

	for _, args := range [][]string{
		{"--root", "/r", "create", "--bundle", filepath.Dir(bundle), "id"},
		{"exec", "--process", process, "id"},
	} {
		cmd := exec.CommandContext(t.Context(), wrapper, args...)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(out)); got != strings.Join(args, " ") {
			t.Errorf("runc was called with %q, want %q", got, strings.Join(args, " "))
		}
	}
	for path, want := range map[string]string{
		bundle:  `{"process":{"args":["x"],"capabilities":{"bounding":["CAP_CHOWN"],"ambient":[]}}}`,
		process: `{"args":["y"],"capabilities":{"effective":[]}}`,
	} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, compact.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

func TestWriteLayout(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "binary")
	if err := os.WriteFile(binary, []byte("ELF"), 0o600); err != nil {
		t.Fatal(err)
	}
	var base bytes.Buffer
	if err := writeLayout(&base, imageLayout{files: map[string]string{"/etc/base": binary}}); err != nil {
		t.Fatal(err)
	}
	basePath := filepath.Join(t.TempDir(), "base.tar")
	if err := os.WriteFile(basePath, base.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := writeLayout(&out, imageLayout{base: basePath, files: map[string]string{"/keda": binary}, links: map[string]string{"/bin/k": "../keda"}}); err != nil {
		t.Fatal(err)
	}
	type entry struct {
		Name string
		Mode int64
		Text string
		Link string
	}
	var got []entry
	for in := tar.NewReader(&out); ; {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, entry{h.Name, h.Mode, string(text), h.Linkname})
	}
	want := []entry{{"etc/base", 0o755, "ELF", ""}, {"keda", 0o755, "ELF", ""}, {"bin/k", 0o777, "", "../keda"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("layout (-want +got):\n%s", diff)
	}
}

func TestPinKEDA(t *testing.T) {
	got := pinKEDA("image: ghcr.io/kedacore/keda:main\nimagePullPolicy: Always\nimage: ghcr.io/kedacore/keda-metrics-apiserver:main\n")
	want := "image: ghcr.io/kedacore/keda:2.21.0\nimagePullPolicy: IfNotPresent\nimage: ghcr.io/kedacore/keda-metrics-apiserver:2.21.0\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pinKEDA (-want +got):\n%s", diff)
	}
}

// KEDA in the cluster is the version the product's proto comes from.
func TestKEDAVersionIsTheModules(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}}", "github.com/kedacore/keda/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != "v"+kedaVersion {
		t.Errorf("go.mod has KEDA %s, the cluster %s: change kedaVersion", got, kedaVersion)
	}
}
