package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// imagesMode is auto, pull or build.
func imagesMode() (string, error) {
	mode := cmp.Or(os.Getenv("PREFECT_KEDA_IMAGES"), "auto")
	switch mode {
	case "auto", "pull", "build":
		return mode, nil
	}
	return "", fmt.Errorf("PREFECT_KEDA_IMAGES is %q; it may be auto, pull or build", mode)
}

// building says what to expect if nothing can be pulled.
const building = "images are built from package registries: about 20 minutes on two cores the first time, seconds after that"

// pullsImages decides between pulling and building. In auto mode it pulls if the
// registries answer and the node image arrives: a proxy may answer for a registry and
// still refuse every image.
func (e *env) pullsImages(ctx context.Context, mode, nodeImage string) (bool, error) {
	switch mode {
	case "pull":
		return true, e.pull(ctx, nodeImage)
	case "build":
		return false, nil
	}
	for _, registry := range e.registries {
		if !answers(ctx, registry) {
			e.say.note("%s does not answer: %s", registry, building)
			return false, nil
		}
	}
	if err := e.pull(ctx, nodeImage); err != nil {
		e.say.note("registries answer, but: %v", err)
		e.say.note("%s", building)
		return false, nil
	}
	return true, nil
}

// pull gets the image if Docker does not hold it.
func (e *env) pull(ctx context.Context, ref string) error {
	if e.hasImage(ctx, ref) {
		e.say.cached()
		return nil
	}
	return e.say.step("pull "+ref, func() error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
		defer cancel()
		_, err := e.docker(ctx, "pull", "-q", ref)
		return err
	})
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
			c.env.say.cached()
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
	var saveErr bytes.Buffer
	save := exec.CommandContext(ctx, "docker", "save", ref)
	save.Stderr = &saveErr
	archive, err := save.StdoutPipe()
	if err != nil {
		return err
	}
	if err := save.Start(); err != nil {
		return err
	}
	_, err = run(ctx, command{name: "docker", args: []string{"exec", "-i", node, "ctr", "-n", "k8s.io", "images", "import", "-"}, stdin: archive})
	// Read the rest, or save waits for a reader for ever.
	_, copyErr := io.Copy(io.Discard, archive)
	if waitErr := save.Wait(); waitErr != nil {
		err = errors.Join(err, fmt.Errorf("docker save %s: %w\n%s", ref, waitErr, tail(saveErr.String(), 10)))
	}
	return errors.Join(err, copyErr)
}

// removeOthers removes images of the same repository for earlier inputs, because each has
// a gigabyte. Images in use stay.
func (e *env) removeOthers(ctx context.Context, ref string) {
	repository, _, _ := strings.Cut(ref, ":")
	if !strings.HasPrefix(repository, "prefect-keda-") {
		return // not made by us
	}
	out, err := e.docker(ctx, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository)
	if err != nil {
		return
	}
	for other := range strings.FieldsSeq(out) {
		if other == ref {
			continue
		}
		if _, err := e.docker(ctx, "rmi", other); err != nil {
			e.say.note("the outdated image %s stays: %v", other, err)
		}
	}
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
	if err := c.env.dockerBuild(ctx, "-t", ref, "--build-arg", "BINARY="+filepath.Base(binary),
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
