package product

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/prefect-keda/prefect-keda/e2e/cluster"
)

// The images the manifests name.
const (
	Image        = "ghcr.io/prefect-keda/prefect-keda:dev"
	StandInImage = "ghcr.io/prefect-keda/prefect1-api:dev"
)

// Images are the images in the node.
type Images struct {
	// Bytes is the size of the product's image.
	Bytes int64
	// Flow is the image that flow pods run in.
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

// Build builds the binaries and images of this tree and puts them, with the flow
// image, into the cluster's node. What has not changed costs nothing.
func Build(ctx context.Context, c *cluster.Cluster, root string) (Images, error) {
	// The images are of Linux, whatever this machine is of.
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
	var images Images
	if images.Bytes, err = c.BuildImage(ctx, Image, filepath.Join(root, bin, "prefect-keda")); err != nil {
		return Images{}, fmt.Errorf("build the product's image: %w", err)
	}
	if _, err = c.BuildImage(ctx, StandInImage, filepath.Join(root, bin, "prefect1-api")); err != nil {
		return Images{}, fmt.Errorf("build the stand-in's image: %w", err)
	}
	if err := c.Load(ctx, Image, StandInImage); err != nil {
		return Images{}, err
	}
	images.Flow, err = c.FlowImage(ctx)
	return images, err
}
