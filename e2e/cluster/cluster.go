package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Name is the kind cluster's; its node container is Name-control-plane.
const Name = "prefect-keda"

const node = Name + "-control-plane"

// upLimit bounds a bring-up. From nothing, on two cores, it takes about 20 minutes; when
// it takes longer than this, something hangs.
const upLimit = time.Hour

// env is one run's surroundings.
type env struct {
	root      string // of the repository
	cache     string
	goVersion string
	// registries are asked before anything is pulled.
	registries []string
	say        *progress
}

// Cluster is a kind cluster that answers and has KEDA.
type Cluster struct {
	// Kubeconfig is the path of a kubeconfig for it; ~/.kube/config is never touched.
	Kubeconfig string
	env        *env
	pulls      bool
}

func newEnv(ctx context.Context, out io.Writer) (*env, error) {
	dir, err := CacheDir()
	if err != nil {
		return nil, err
	}
	root, err := run(ctx, command{name: "go", args: []string{"list", "-m", "-f", "{{.Dir}}", "github.com/prefect-keda/prefect-keda"}})
	if err != nil {
		return nil, fmt.Errorf("find the repository: %w", err)
	}
	return &env{
		root: strings.TrimSpace(root), cache: dir, goVersion: runtime.Version(), say: newProgress(out),
		registries: []string{"https://registry-1.docker.io/v2/", "https://ghcr.io/v2/"},
	}, nil
}

// Up brings the cluster up, or uses the one that is up, and says on out what it
// does. It is recreated when it is stopped, half there, or made of other
// pieces than this tree asks for. Two calls at once wait for each other.
func Up(ctx context.Context, out io.Writer) (*Cluster, error) {
	e, err := newEnv(ctx, out)
	if err != nil {
		return nil, err
	}
	return e.up(ctx)
}

func (e *env) up(ctx context.Context) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, upLimit)
	defer cancel()
	unlock, err := e.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := e.sweep(); err != nil {
		return nil, err
	}
	e.say.say("==> kind cluster %s with KEDA %s", Name, kedaVersion)
	if err := e.ensureDocker(ctx); err != nil {
		return nil, err
	}
	base, err := os.ReadFile(filepath.Join(e.root, "kind-config.yaml"))
	if err != nil {
		return nil, err
	}
	image, err := pinnedNodeImage(string(base))
	if err != nil {
		return nil, err
	}
	c := &Cluster{Kubeconfig: e.kubeconfig(), env: e, pulls: true}
	config := kindConfig(string(base), true)
	print := fingerprint{Image: image, Config: key(config), KEDA: kedaVersion}
	mode, err := imagesMode()
	if err != nil {
		return nil, err
	}
	// An existing cluster decides before we ask any registry: if a registry does not answer
	// today, we need not build what was pulled yesterday, and if one answers, we need not
	// pull what was built.
	var why string
	if mode != "build" {
		if why = c.stale(ctx, print); why == "" {
			return c.found(), nil
		}
	}
	if mode == "auto" && e.built(ctx) {
		mode = "build"
	}
	if c.pulls, err = e.pullsImages(ctx, mode, image); err != nil {
		return nil, err
	}
	if !c.pulls {
		if image, err = e.nodeImage(ctx); err != nil {
			return nil, err
		}
		config = kindConfig(string(base), false)
		print = fingerprint{Image: image, Config: key(config), KEDA: kedaVersion}
		if why = c.stale(ctx, print); why == "" {
			return c.found(), nil
		}
	}
	if err := c.create(ctx, image, config, why); err != nil {
		return nil, err
	}
	if err := c.installKEDA(ctx); err != nil {
		return nil, err
	}
	// Recorded only now, so that the next run replaces a half-made cluster.
	if err := e.record(ctx, print); err != nil {
		return nil, err
	}
	e.removeOthers(ctx, image)
	e.say.summary("the cluster is up, made")
	return c, nil
}

// Step does something that belongs to the cluster's preparation, and says so.
func (c *Cluster) Step(what string, do func() error) error { return c.env.say.step(what, do) }

// found ends a run that had nothing to make.
func (c *Cluster) found() *Cluster {
	c.env.say.cached()
	c.env.say.summary("the cluster was up already, checked")
	return c
}

// Reserve keeps a demo and the scenarios from using the cluster at once: they would see
// each other's load and clear each other's namespaces. It waits for the other, and says so.
func Reserve(ctx context.Context, out io.Writer) (release func(), err error) {
	e, err := newEnv(ctx, out)
	if err != nil {
		return nil, err
	}
	return e.flock(ctx, "reserved")
}

// Down deletes the cluster; the cache stays.
func Down(ctx context.Context, out io.Writer) error {
	e, err := newEnv(ctx, out)
	if err != nil {
		return err
	}
	unlock, err := e.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if !e.dockerAnswers(ctx) {
		e.say.note("no Docker daemon answers, so there is no cluster to remove")
		return nil
	}
	if _, err := e.docker(ctx, "inspect", node); err != nil {
		e.say.note("there is no cluster to remove")
		return nil
	}
	return e.say.step("remove the cluster "+Name, func() error {
		_, err := e.docker(ctx, "rm", "-f", "-v", node)
		return err
	})
}

// Status describes the cluster and changes nothing.
func Status(ctx context.Context, out io.Writer) error {
	e, err := newEnv(ctx, out)
	if err != nil {
		return err
	}
	if !e.dockerAnswers(ctx) {
		e.say.note("no Docker daemon answers; `cluster up` uses or starts one")
		return nil
	}
	state, err := e.docker(ctx, "inspect", "-f", "{{.State.Status}} since {{.State.StartedAt}}, image {{.Config.Image}}", node)
	if err != nil {
		e.say.note("there is no cluster; `cluster up` makes one")
		return nil //nolint:nilerr // docker inspect fails if there is no node
	}
	e.say.note("node: %s", strings.TrimSpace(state))
	c := &Cluster{Kubeconfig: e.kubeconfig(), env: e}
	if err := c.kedaAvailable(ctx, "5s"); err != nil {
		e.say.note("KEDA %s: %v", kedaVersion, err)
		return nil
	}
	e.say.note("KEDA %s: available", kedaVersion)
	e.say.note("export KUBECONFIG=%s", c.Kubeconfig)
	return nil
}

func (e *env) kubeconfig() string { return filepath.Join(e.cache, "kubeconfig") }

func (c *Cluster) create(ctx context.Context, image, config, why string) error {
	kind, err := c.env.build(ctx, kindCommand())
	if err != nil {
		return err
	}
	path := filepath.Join(c.env.cache, "kind-config.yaml")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		return err
	}
	// kind leaves the .lock behind when it is killed, and then refuses to write the kubeconfig.
	for _, old := range []string{c.env.fingerprintFile(), c.Kubeconfig, c.Kubeconfig + ".lock"} {
		if err := os.Remove(old); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	c.env.say.note("create the cluster: %s", why)
	return c.env.say.step("kind create cluster with "+image, func() error {
		// A missing container is an error in some versions of docker only.
		if _, err := c.env.docker(ctx, "rm", "-f", "-v", node); err != nil && !strings.Contains(err.Error(), "No such container") {
			return err
		}
		_, err := run(ctx, command{name: kind, args: []string{
			"create", "cluster", "--name", Name, "--image", image, "--config", path, "--kubeconfig", c.Kubeconfig, "--wait", "5m",
		}})
		return err
	})
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

func sortedValues(m map[string]string) []string { return slices.Sorted(maps.Values(m)) }
