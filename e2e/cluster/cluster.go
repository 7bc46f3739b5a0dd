package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// Name is the kind cluster's; its node container is Name-control-plane.
const Name = "prefect-keda"

const node = Name + "-control-plane"

// env is one run's surroundings.
type env struct {
	root      string // of the repository
	cache     string
	goVersion string
	say       progress
}

// Cluster is a kind cluster that answers and has KEDA.
type Cluster struct {
	// Kubeconfig is the path of a kubeconfig for it; ~/.kube/config is never touched.
	Kubeconfig string
	env        *env
	kubectl    string
	pulls      bool
}

func newEnv(ctx context.Context, out io.Writer) (*env, error) {
	dir, err := cacheDir()
	if err != nil {
		return nil, err
	}
	root, err := run(ctx, command{name: "go", args: []string{"list", "-m", "-f", "{{.Dir}}", "github.com/prefect-keda/prefect-keda"}})
	if err != nil {
		return nil, fmt.Errorf("find the repository: %w", err)
	}
	return &env{root: strings.TrimSpace(root), cache: dir, goVersion: runtime.Version(), say: progress{out}}, nil
}

// Up brings the cluster up, or uses the one that is up, and says on out what it
// does. It is recreated when it is stopped, half there, or made of other
// pieces than this tree asks for. Two calls at once wait for each other.
func Up(ctx context.Context, out io.Writer) (*Cluster, error) {
	e, err := newEnv(ctx, out)
	if err != nil {
		return nil, err
	}
	unlock, err := e.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	fmt.Fprintln(out, "==> kind cluster "+Name+" with KEDA "+kedaVersion)
	if err := e.ensureDocker(ctx); err != nil {
		return nil, err
	}
	pulls, err := e.pullsImages(ctx)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Kubeconfig: filepath.Join(e.cache, "kubeconfig"), env: e, pulls: pulls}
	if c.kubectl, err = e.build(ctx, kubectlCommand()); err != nil {
		return nil, err
	}
	kind, err := e.build(ctx, kindCommand())
	if err != nil {
		return nil, err
	}
	image := pulledNodeImage
	if !pulls {
		if image, err = e.nodeImage(ctx); err != nil {
			return nil, err
		}
	}
	base, err := os.ReadFile(filepath.Join(e.root, "kind-config.yaml"))
	if err != nil {
		return nil, err
	}
	config := kindConfig(string(base), pulls)
	print := fingerprint{Image: image, Config: key(config), KEDA: kedaVersion}
	if why := c.stale(ctx, print); why != "" {
		if err := c.create(ctx, kind, image, config, why); err != nil {
			return nil, err
		}
		if err := c.installKEDA(ctx); err != nil {
			return nil, err
		}
		return c, e.record(ctx, print)
	}
	e.say.cached("cluster " + Name)
	return c, c.waitForKEDA(ctx)
}

// Down deletes the cluster; the cache stays.
func Down(ctx context.Context, out io.Writer) error {
	e, err := newEnv(ctx, out)
	if err != nil {
		return err
	}
	unlock, err := e.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := e.docker(ctx, "info"); err != nil {
		e.say.note("no Docker daemon answers, so there is no cluster to remove")
		return nil
	}
	return e.say.step("remove the cluster "+Name, func() error {
		_, err := e.docker(ctx, "rm", "-f", "-v", node)
		return err
	})
}

// kindConfig is the repository's kind-config.yaml, with no CNI to pull where
// nothing can be pulled.
func kindConfig(base string, pulls bool) string {
	if pulls {
		return base
	}
	return strings.TrimRight(base, "\n") + "\nnetworking:\n  disableDefaultCNI: true\n"
}

// fingerprint is what a cluster was made of.
type fingerprint struct{ Image, Config, KEDA, Container string }

func (e *env) fingerprintFile() string { return filepath.Join(e.cache, "cluster.json") }

func (e *env) record(ctx context.Context, f fingerprint) error {
	id, err := e.docker(ctx, "inspect", "-f", "{{.Id}}", node)
	if err != nil {
		return err
	}
	f.Container = strings.TrimSpace(id)
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return os.WriteFile(e.fingerprintFile(), b, 0o644)
}

// stale says why the cluster there is cannot be used; empty when it can.
func (c *Cluster) stale(ctx context.Context, want fingerprint) string {
	out, err := c.env.docker(ctx, "inspect", "-f", "{{.Id}} {{.State.Running}}", node)
	if err != nil {
		return "there is none"
	}
	recorded, _ := os.ReadFile(c.env.fingerprintFile())
	if why := outdated(recorded, strings.TrimSpace(out), want); why != "" {
		return why
	}
	if _, err := c.Kubectl(ctx, "get", "--raw", "/readyz", "--request-timeout=10s"); err != nil {
		return "its API server does not answer"
	}
	out, err = c.Kubectl(ctx, "get", "nodes", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`)
	if err != nil || out != "True" {
		return "its node is not ready"
	}
	return ""
}

// outdated compares the record of the last cluster with the container that is
// there ("ID RUNNING") and with what this tree wants.
func outdated(recorded []byte, container string, want fingerprint) string {
	var have fingerprint
	if json.Unmarshal(recorded, &have) != nil {
		return "nothing is known of the one there"
	}
	id, running, _ := strings.Cut(container, " ")
	want.Container = id
	switch {
	case have.Container != id:
		return "it is not the one brought up last"
	case have != want:
		return "it is made of other pieces than this tree asks for"
	case running != "true":
		return "it is stopped"
	}
	return ""
}

func (c *Cluster) create(ctx context.Context, kind, image, config, why string) error {
	path := filepath.Join(c.env.cache, "kind-config.yaml")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		return err
	}
	os.Remove(c.env.fingerprintFile())
	c.env.say.note("create the cluster: %s", why)
	return c.env.say.step("kind create cluster with "+image, func() error {
		c.env.docker(ctx, "rm", "-f", "-v", node)
		_, err := run(ctx, command{name: kind, args: []string{
			"create", "cluster", "--name", Name, "--image", image, "--config", path, "--kubeconfig", c.Kubeconfig, "--wait", "5m",
		}})
		return err
	})
}

// Kubectl runs kubectl against the cluster and returns its standard output.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return run(ctx, command{name: c.kubectl, args: append([]string{"--kubeconfig", c.Kubeconfig}, args...)})
}

// KubectlInput is Kubectl with something to read.
func (c *Cluster) KubectlInput(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	return run(ctx, command{name: c.kubectl, args: append([]string{"--kubeconfig", c.Kubeconfig}, args...), stdin: stdin})
}

// KubectlPath is where the kubectl of the cluster's version is.
func (c *Cluster) KubectlPath() string { return c.kubectl }

// lock keeps two runs from building or creating the same thing at once.
func (e *env) lock() (func(), error) {
	f, err := os.OpenFile(filepath.Join(e.cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		e.say.note("another run is busy with the cluster; waiting for it")
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

func sortedValues(m map[string]string) []string { return slices.Sorted(maps.Values(m)) }
