package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestKeyTellsInputsApart(t *testing.T) {
	if key("ab", "c") == key("a", "bc") {
		t.Error("the boundary between two inputs does not count")
	}
	if first, again := key("a", "b"), key("a", "b"); first != again {
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

func TestPinnedNodeImage(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0a", 32)
	for _, tc := range []struct {
		name, config, want string
	}{
		{"by digest", "# image: other:v1" + digest + "\nnodes:\n  - role: control-plane\n    image: kindest/node:v1.34.11" + digest + "\n", "kindest/node:v1.34.11" + digest},
		{"by tag only", "nodes:\n  - image: x\n    image: kindest/node:v1.34.11\n", ""},
		{"none", "kind: Cluster\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := pinnedNodeImage(tc.config)
			if got != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("pinnedNodeImage = %q, %v, want %q", got, err, tc.want)
			}
		})
	}
}

// What is pulled and what is built behave the same: one minor version.
func TestPulledNodeIsOfTheMinorVersionThatIsBuilt(t *testing.T) {
	config, err := os.ReadFile("../../kind-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	image, err := pinnedNodeImage(string(config))
	if err != nil {
		t.Fatal(err)
	}
	minor := kubernetesVersion[:strings.LastIndex(kubernetesVersion, ".")+1]
	if !strings.HasPrefix(image, "kindest/node:"+minor) {
		t.Errorf("kind-config.yaml names %s, what is built is %s", image, kubernetesVersion)
	}
	if !strings.Contains(string(config), "\nname: "+Name+"\n") {
		t.Errorf("kind-config.yaml names another cluster than %s", Name)
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

func TestArtifact(t *testing.T) {
	e := &env{cache: t.TempDir(), say: newProgress(io.Discard)}
	made := 0
	write := func(path string) error {
		made++
		return os.WriteFile(path, []byte("x"), 0o600)
	}
	first, err := e.artifact("a thing", "thing", []string{"1"}, write)
	if err != nil {
		t.Fatal(err)
	}
	again, err := e.artifact("a thing", "thing", []string{"1"}, write)
	if err != nil {
		t.Fatal(err)
	}
	if first != again || made != 1 {
		t.Errorf("the same inputs gave %s and %s and were made %d times", first, again, made)
	}
	other, err := e.artifact("a thing", "thing", []string{"2"}, write)
	if err != nil {
		t.Fatal(err)
	}
	if other == first || made != 2 {
		t.Errorf("other inputs gave %s and were made %d times in all", other, made)
	}
	// Interrupted half way: nothing to trust may be left.
	half := func(path string) error {
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			return err
		}
		return errors.New("interrupted")
	}
	path, err := e.artifact("a thing", "thing", []string{"3"}, half)
	if err == nil {
		t.Error("a failed build is no error")
	}
	if left, _ := filepath.Glob(path + "*"); len(left) != 0 {
		t.Errorf("a failed build leaves %v", left)
	}
}

func TestSweepRemovesWhatKilledRunsLeft(t *testing.T) {
	e := &env{cache: t.TempDir()}
	for _, name := range []string{"node-1/rootfs.tar", "keda-1/go.mod", "image-1.tar", "artifacts/kubelet-abc.part", "artifacts/kubelet-abc", "kubeconfig"} {
		path := filepath.Join(e.cache, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.sweep(); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, pattern := range []string{"*", "artifacts/*"} {
		found, err := filepath.Glob(filepath.Join(e.cache, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			left = append(left, strings.TrimPrefix(path, e.cache+"/"))
		}
	}
	if diff := cmp.Diff([]string{"artifacts", "kubeconfig", "artifacts/kubelet-abc"}, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestLockWaitsForTheOther(t *testing.T) {
	e := &env{cache: t.TempDir(), say: newProgress(io.Discard)}
	unlock, err := e.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.lock(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a second lock while the first is held: %v, want to wait until the context ends", err)
	}
	unlock()
	unlock, err = e.lock(t.Context())
	if err != nil {
		t.Fatalf("lock after the first was given back: %v", err)
	}
	defer unlock()
	reserved, err := e.flock(t.Context(), "reserved")
	if err != nil {
		t.Fatalf("who has the cluster reserved must still be able to lock it: %v", err)
	}
	reserved()
}

func TestLayoutKey(t *testing.T) {
	base := imageLayout{base: "/c/root.tar-1", files: map[string]string{"/keda": "/c/keda-1"}, links: map[string]string{"/a": "b"}, entrypoint: "/keda", user: "1:1"}
	same := base
	same.files = map[string]string{"/keda": "/elsewhere/keda-1"}
	if base.key() != same.key() {
		t.Error("the cache's own path counts")
	}
	for name, change := range map[string]func(*imageLayout){
		"base":       func(l *imageLayout) { l.base = "/c/root.tar-2" },
		"binary":     func(l *imageLayout) { l.files = map[string]string{"/keda": "/c/keda-2"} },
		"path":       func(l *imageLayout) { l.files = map[string]string{"/bin/keda": "/c/keda-1"} },
		"link":       func(l *imageLayout) { l.links = map[string]string{"/a": "c"} },
		"entrypoint": func(l *imageLayout) { l.entrypoint = "/other" },
		"user":       func(l *imageLayout) { l.user = "2:2" },
	} {
		t.Run(name, func(t *testing.T) {
			changed := base
			change(&changed)
			if changed.key() == base.key() {
				t.Error("a change does not count")
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int
		header string
		want   bool
	}{
		{"registry that asks for a token", http.StatusUnauthorized, "registry/2.0", true},
		{"open registry", http.StatusOK, "registry/2.0", true},
		{"proxy that answers for everybody", http.StatusNotFound, "", false},
		{"portal", http.StatusOK, "", false},
		{"registry that is broken", http.StatusServiceUnavailable, "registry/2.0", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if tc.header != "" {
					w.Header().Set("Docker-Distribution-Api-Version", tc.header)
				}
				w.WriteHeader(tc.status)
			}))
			defer server.Close()
			if got := answers(t.Context(), server.URL+"/v2/"); got != tc.want {
				t.Errorf("answers = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestSummary(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	p.steps = []timing{{"short", time.Second}, {"long", time.Minute}}
	p.cached()
	p.summary("it is up")
	got := out.String()
	if !strings.HasPrefix(got, "    it is up in ") || !strings.HasSuffix(got, "; pieces there already: 1; slowest: long 1m0s, short 1s\n") {
		t.Errorf("summary = %q", got)
	}
}

// Who waits for long hears of it, from the innermost step.
func TestStepsThatTakeMinutesSaySo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&out)
		err := p.step("outer", func() error {
			time.Sleep(61 * time.Second)
			return p.step("inner", func() error { time.Sleep(125 * time.Second); return nil })
		})
		if err != nil {
			t.Fatal(err)
		}
		want := `  • outer …
    outer: at work for 1m0s
  • inner …
    inner: at work for 1m0s
    inner: at work for 2m0s
    inner: done in 2m5s
    outer: done in 3m6s
`
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
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
		if errors.Is(err, io.EOF) {
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

// Of KEDA's scalers those are compiled that need nothing but the cluster, and ours.
func TestCopyKEDA(t *testing.T) {
	e := &env{root: "../.."}
	source, err := e.moduleDir(t.Context(), e.root, "github.com/kedacore/keda/v2")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := copyKEDA(dir, source); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "pkg/scalers/*_scaler.go"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	if diff := cmp.Diff([]string{"azure_queue_scaler.go", "cpu_memory_scaler.go", "cron_scaler.go", "external_scaler.go"}, files); diff != "" {
		t.Errorf("scalers (-want +got):\n%s", diff)
	}
	builder, err := os.ReadFile(filepath.Join(dir, "pkg/scaling/scalers_builder.go"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []string
	for line := range strings.Lines(string(builder)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, `case "`) {
			cases = append(cases, line)
		}
	}
	if diff := cmp.Diff([]string{`case "cpu":`, `case "cron":`, `case "external":`, `case "external-push":`, `case "memory":`}, cases); diff != "" {
		t.Errorf("triggers (-want +got):\n%s", diff)
	}
	if !strings.Contains(string(builder), "no scaler found for type") {
		t.Error("a trigger of another type is not refused as KEDA refuses one that it does not know")
	}
}

func TestKeepTriggersWantsAllOfThem(t *testing.T) {
	for _, source := range []string{
		"package p\n",
		"package p\nfunc f(triggerType string) { switch triggerType { case \"cpu\": return } }\n",
		"package p\nfunc f(other string) { switch other { case \"cpu\", \"cron\": case \"external\": case \"external-push\": case \"memory\": } }\n",
	} {
		if got, err := keepTriggers([]byte(source)); err == nil {
			t.Errorf("keepTriggers(%q) = %q, want an error", source, got)
		}
	}
}

// A binary is built anew when a file of ours changes that it is built from.
func TestSources(t *testing.T) {
	e := &env{root: "../.."}
	for _, c := range append(nodeComponents(), reducedRuntime(), kindCommand()) {
		want := []string{"go.mod", "go.sum"}
		switch c.name {
		case "coredns", "pause":
			want = append(want, "main.go")
		case "runc-reduced":
			want = []string{"main.go"}
		}
		var got []string
		for _, path := range e.sources(c) {
			got = append(got, filepath.Base(path))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s is built from %v, want %v", c.name, got, want)
		}
	}
}
