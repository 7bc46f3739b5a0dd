package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/prefect-keda/prefect-keda/e2e/turn"
)

// nodeImageLine is how kind's config names a node's image.
var nodeImageLine = regexp.MustCompile(`(?m)^\s*image:\s*(\S+@sha256:[0-9a-f]{64})\s*$`)

// pinnedNodeImage is the image that kind-config.yaml names, by digest: a tag of
// kindest/node may be built anew for another version of kind.
func pinnedNodeImage(config string) (string, error) {
	m := nodeImageLine.FindStringSubmatch(config)
	if m == nil {
		return "", errors.New("kind-config.yaml names no node image by digest (image: kindest/node:v1.2.3@sha256:…)")
	}
	return m[1], nil
}

// kindConfig is the repository's kind-config.yaml; if nothing can be pulled, without a CNI.
func kindConfig(base string, pulls bool) string {
	if pulls {
		return base
	}
	return strings.TrimRight(base, "\n") + "\nnetworking:\n  disableDefaultCNI: true\n"
}

// fingerprint identifies the parts of a cluster.
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

// built reports whether the existing cluster uses a node image built here.
func (e *env) built(ctx context.Context) bool {
	recorded, _ := os.ReadFile(e.fingerprintFile())
	var have fingerprint
	id, err := e.docker(ctx, "inspect", "-f", "{{.Id}}", node)
	return err == nil && json.Unmarshal(recorded, &have) == nil &&
		have.Container == strings.TrimSpace(id) && strings.HasPrefix(have.Image, nodeRepository+":")
}

// stale says why the existing cluster cannot be used; empty if it can.
func (c *Cluster) stale(ctx context.Context, want fingerprint) string {
	out, err := c.env.docker(ctx, "inspect", "-f", "{{.Id}} {{.State.Running}}", node)
	if err != nil {
		return "there is no cluster yet"
	}
	recorded, _ := os.ReadFile(c.env.fingerprintFile())
	if why := outdated(recorded, strings.TrimSpace(out), want); why != "" {
		return why
	}
	// A machine that is busy with something else may be slow once; that is no reason to start over.
	for try := 1; ; try++ {
		_, err := c.Kubectl(ctx, "get", "--raw", "/readyz", "--request-timeout=15s")
		if err == nil {
			break
		}
		if try == 3 || ctx.Err() != nil {
			return "its API server does not answer"
		}
	}
	out, err = c.Kubectl(ctx, "get", "nodes", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`)
	if err != nil || out != "True" {
		return "its node is not ready"
	}
	// A scenario that was killed may have left it stopped.
	_, err = c.Kubectl(ctx, "-n", "keda", "scale", "deployment", "keda-operator", "keda-metrics-apiserver", "--replicas=1")
	if err != nil || c.kedaAvailable(ctx, "90s") != nil {
		return "its KEDA is not available"
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

// lock keeps two runs from building or creating the same thing at once.
func (e *env) lock(ctx context.Context) (func(), error) { return e.flock(ctx, "lock") }

// flock waits until the file is ours; the system gives it back when we die.
func (e *env) flock(ctx context.Context, name string) (func(), error) {
	return turn.Take(ctx, filepath.Join(e.cache, name), func() { e.say.note("another run is busy with the cluster; waiting for it") })
}

// sweep removes unfinished files of a killed run. The caller holds the lock, so no other run
// is writing them.
func (e *env) sweep() error {
	for _, pattern := range []string{"node-*", "keda-*", "image-*.tar", "flow-rootfs.tar", "artifacts/*.part"} {
		left, err := filepath.Glob(filepath.Join(e.cache, pattern))
		if err != nil {
			return err
		}
		for _, path := range left {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return nil
}
