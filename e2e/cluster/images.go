package cluster

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// pulledNodeImage is kind's own node image where a registry is reachable; the
// minor version is the one nodeimage.go builds elsewhere.
const pulledNodeImage = "kindest/node:" + kubernetesVersion

// pullsImages decides between pulling and building. PREFECT_KEDA_IMAGES=pull or
// build overrides what a look at the registries says.
func (e *env) pullsImages(ctx context.Context) (bool, error) {
	switch mode := os.Getenv("PREFECT_KEDA_IMAGES"); mode {
	case "pull":
		return true, nil
	case "build":
		return false, nil
	case "", "auto":
	default:
		return false, fmt.Errorf("PREFECT_KEDA_IMAGES is %q; it may be auto, pull or build", mode)
	}
	for _, registry := range []string{"https://registry-1.docker.io/v2/", "https://ghcr.io/v2/"} {
		if !answers(ctx, registry) {
			e.say.note("%s does not answer: images are built from package registries", registry)
			return false, nil
		}
	}
	e.say.note("image registries answer: images are pulled")
	return true, nil
}

// answers reports whether a registry's API is there: 200, or 401 asking for a token.
func answers(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.Header.Get("Docker-Distribution-Api-Version") != "" &&
		(resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusUnauthorized)
}

// Load puts images of the Docker daemon into the node; those that are there
// already are left.
func (c *Cluster) Load(ctx context.Context, refs ...string) error {
	container, err := c.env.docker(ctx, "inspect", "-f", "{{.Id}}", node)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		id, err := c.env.docker(ctx, "image", "inspect", "-f", "{{.Id}}", ref)
		if err != nil {
			return fmt.Errorf("image to load: %w", err)
		}
		// What was loaded is remembered per node container: a new cluster starts empty.
		mark := filepath.Join(c.env.cache, "loaded", key(container, ref))
		if have, err := os.ReadFile(mark); err == nil && string(have) == id {
			c.env.say.cached("image " + ref + " in the node")
			continue
		}
		if err := c.env.say.step("load "+ref+" into the node", func() error { return c.load(ctx, ref) }); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(mark), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(mark, []byte(id), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) load(ctx context.Context, ref string) error {
	archive := filepath.Join(c.env.cache, "load.tar")
	defer os.Remove(archive)
	if _, err := c.env.docker(ctx, "save", "-o", archive, ref); err != nil {
		return err
	}
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = run(ctx, command{name: "docker", args: []string{"exec", "-i", node, "ctr", "-n", "k8s.io", "images", "import", "-"}, stdin: f})
	return err
}

// BuildImage builds one of the repository's images with its Dockerfile from a
// prebuilt static binary, and returns the image's size in bytes.
func (c *Cluster) BuildImage(ctx context.Context, ref, binary string) (int64, error) {
	dir, err := os.MkdirTemp(c.env.cache, "context-*")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := os.Link(binary, filepath.Join(dir, filepath.Base(binary))); err != nil {
		if err := copyFile(binary, filepath.Join(dir, filepath.Base(binary))); err != nil {
			return 0, err
		}
	}
	if _, err := c.env.docker(ctx, "build", "-q", "-t", ref, "--build-arg", "BINARY="+filepath.Base(binary),
		"-f", filepath.Join(c.env.root, "Dockerfile"), dir); err != nil {
		return 0, err
	}
	out, err := c.env.docker(ctx, "image", "inspect", "-f", "{{.Size}}", ref)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(out), 10, 64)
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}
