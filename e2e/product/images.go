package product

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"github.com/prefect-keda/prefect-keda/e2e/cluster"
)

// The images the manifests name.
const (
	image        = "ghcr.io/prefect-keda/prefect-keda"
	standInImage = "ghcr.io/prefect-keda/prefect1-api:dev"
)

// Images are the images in the node.
type Images struct {
	// Bytes is the size of the product's image.
	Bytes int64
	// Flow is the image that the flow pods of Prefect 1 run in.
	Flow string
}

// Root is the repository's directory: the nearest one upwards that has go.mod.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find the repository: no go.mod here or above")
		}
		dir = parent
	}
}

// Build builds the binaries and images of this tree and puts them into the cluster's node. What
// has not changed costs nothing. The images that flows run in are the cluster's to make.
func Build(ctx context.Context, c *cluster.Cluster, root string) (Images, error) {
	// Images need Linux binaries on any machine.
	const bin = "bin/linux"
	err := c.Step("build the binaries of this tree into "+bin, func() error {
		cmd := exec.CommandContext(ctx, filepath.Join(root, "hack/build.sh"), bin)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "GOOS=linux")
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, text)
		}
		return nil
	})
	if err != nil {
		return Images{}, err
	}
	image, err := named(root)
	if err != nil {
		return Images{}, err
	}
	var images Images
	if images.Bytes, err = c.BuildImage(ctx, image, filepath.Join(root, bin, "prefect-keda")); err != nil {
		return Images{}, fmt.Errorf("build the product's image: %w", err)
	}
	if _, err = c.BuildImage(ctx, standInImage, filepath.Join(root, bin, "prefect1-api")); err != nil {
		return Images{}, fmt.Errorf("build the stand-in's image: %w", err)
	}
	return images, c.Load(ctx, image, standInImage)
}

// named is the product's image with the tag that the manifests give it: a version in
// the commit of a release.
func named(root string) (string, error) {
	const path = "manifests/base/kustomization.yaml"
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		return "", err
	}
	var kustomization struct {
		Images []struct{ Name, NewTag string }
	}
	if err := yaml.Unmarshal(text, &kustomization); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	for _, i := range kustomization.Images {
		if i.Name == image {
			return image + ":" + i.NewTag, nil
		}
	}
	return "", fmt.Errorf("%s gives no tag for %s", path, image)
}
