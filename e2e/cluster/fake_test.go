package cluster

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// machine is one with recording fakes of docker and go on its PATH (testdata/fake.sh).
type machine struct {
	t    *testing.T
	fake string // what the fakes remember
	env  *env
	out  bytes.Buffer
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, fake: t.TempDir()}
	bin := t.TempDir()
	script, err := filepath.Abs("testdata/fake.sh")
	if err != nil {
		t.Fatal(err)
	}
	realGo, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"docker", "go"} {
		if err := os.Symlink(script, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("FAKE", m.fake)
	t.Setenv("REAL_GO", realGo)
	t.Setenv("PREFECT_KEDA_IMAGES", "")
	t.Setenv("PREFECT_KEDA_CACHE", t.TempDir())
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	}))
	t.Cleanup(registry.Close)
	m.env = &env{
		root: root, cache: os.Getenv("PREFECT_KEDA_CACHE"), goVersion: runtime.Version(), say: newProgress(&m.out),
		registries: []string{registry.URL + "/v2/"},
	}
	return m
}

// offline is the machine with no registry in reach.
func (m *machine) offline() {
	gone := httptest.NewServer(nil)
	gone.Close()
	m.env.registries = []string{gone.URL + "/v2/"}
}

// calls are those made so far, and are then forgotten.
func (m *machine) calls() []string {
	m.t.Helper()
	path := filepath.Join(m.fake, "calls")
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		m.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// making are those of the calls that pull, build or create something, shortened
// to what and of what.
func making(calls []string) []string {
	var made []string
	for _, call := range calls {
		words := strings.Fields(call)
		last := words[len(words)-1]
		switch what := strings.Join(words[:min(2, len(words))], " "); what {
		case "docker pull", "go build":
			made = append(made, what+" "+last)
		case "docker build", "docker import":
			if i := slices.Index(words, "-t"); i > 0 {
				last = words[i+1]
			}
			name, _, _ := strings.Cut(last, ":")
			made = append(made, what+" "+name)
		case "kind create":
			made = append(made, what)
		}
	}
	return made
}

func (m *machine) up() *Cluster {
	m.t.Helper()
	c, err := m.env.up(m.t.Context())
	if err != nil {
		m.t.Fatalf("%v\n%s", err, m.out.String())
	}
	return c
}

func (m *machine) pinned() string {
	m.t.Helper()
	config, err := os.ReadFile(filepath.Join(m.env.root, "kind-config.yaml"))
	if err != nil {
		m.t.Fatal(err)
	}
	image, err := pinnedNodeImage(string(config))
	if err != nil {
		m.t.Fatal(err)
	}
	return image
}

// Where images can be pulled nothing is built but what is ours, and kind.
func TestPullingBuildsNoImageButOursAndNoKubernetes(t *testing.T) {
	m := newMachine(t)
	c := m.up()
	binary := filepath.Join(t.TempDir(), "prefect-keda")
	if err := os.WriteFile(binary, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.BuildImage(t.Context(), "ghcr.io/prefect-keda/prefect-keda:dev", binary); err != nil {
		t.Fatal(err)
	}
	if err := c.Load(t.Context(), "ghcr.io/prefect-keda/prefect-keda:dev"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.FlowImage(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"docker pull " + m.pinned(),
		"go build sigs.k8s.io/kind",
		"kind create",
		"docker build ghcr.io/prefect-keda/prefect-keda",
		"docker build prefect-keda-flow", // FROM prefecthq/prefect
	}
	if diff := cmp.Diff(want, making(m.calls())); diff != "" {
		t.Errorf("(-want +got):\n%s\n%s", diff, m.out.String())
	}
}

// Images are built by buildx where Docker has it, as newer ones have nothing else, and
// with the context's own builder, which leaves the image where it is looked for.
func TestTheBuilderIsTheOneThatDockerHas(t *testing.T) {
	for want, buildx := range map[string]bool{"0": false, "1 desktop-linux": true} {
		m := newMachine(t)
		if buildx {
			if err := os.WriteFile(filepath.Join(m.fake, "buildx"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.env.dockerBuild(t.Context(), "-t", "image", "."); err != nil {
			t.Fatal(err)
		}
		builder, err := os.ReadFile(filepath.Join(m.fake, "builder"))
		if err != nil || strings.TrimSpace(string(builder)) != want {
			t.Errorf("with buildx %v: built by %q (%v), want %q", buildx, builder, err, want)
		}
	}
}

// A registry that does not answer once is no reason to build what was pulled.
func TestPulledClusterIsKeptOffline(t *testing.T) {
	m := newMachine(t)
	m.up()
	m.calls()
	m.offline()
	c := m.up()
	if made := making(m.calls()); len(made) > 0 || !c.pulls {
		t.Errorf("made: %v; the cluster counts as pulled: %v\n%s", made, c.pulls, m.out.String())
	}
}

// Nor is one that answers a reason to pull what was built.
func TestClusterThatWasBuiltIsKnown(t *testing.T) {
	m := newMachine(t)
	m.up()
	if m.env.built(t.Context()) {
		t.Error("a pulled cluster counts as built")
	}
	if err := m.env.record(t.Context(), fingerprint{Image: nodeRepository + ":0123"}); err != nil {
		t.Fatal(err)
	}
	if !m.env.built(t.Context()) {
		t.Error("a built cluster does not count as built")
	}
	if err := os.Remove(filepath.Join(m.fake, "cluster")); err != nil {
		t.Fatal(err)
	}
	if m.env.built(t.Context()) {
		t.Error("a cluster that is gone counts as built")
	}
}

// `make demo-down` removes the cluster and nothing else, and is content when
// there is none.
func TestDown(t *testing.T) {
	inspect, remove := "docker inspect "+node, "docker rm -f -v "+node
	for _, tc := range []struct {
		name, file string
		want       []string
		says       string
	}{
		{"a cluster", "cluster", []string{"docker info", inspect, remove}, "remove the cluster prefect-keda: done"},
		{"none", "", []string{"docker info", inspect}, "there is no cluster to remove"},
		{"no Docker", "no-daemon", []string{"docker info"}, "no Docker daemon answers"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMachine(t)
			if tc.file != "" {
				if err := os.WriteFile(filepath.Join(m.fake, tc.file), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := Down(t.Context(), &m.out); err != nil {
				t.Fatal(err)
			}
			calls := slices.DeleteFunc(m.calls(), func(call string) bool { return strings.HasPrefix(call, "go list ") })
			if diff := cmp.Diff(tc.want, calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if !strings.Contains(m.out.String(), tc.says) {
				t.Errorf("it says:\n%s", m.out.String())
			}
			if _, err := os.Stat(filepath.Join(m.fake, "cluster")); err == nil {
				t.Error("the cluster is still there")
			}
		})
	}
}
