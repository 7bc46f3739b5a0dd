package cluster

import (
	"context"
	"path/filepath"
)

// FlowImage is an image with the real Prefect 1.4.1 client and the flows of
// e2e/images/flow, in the Docker daemon and in the node.
func (c *Cluster) FlowImage(ctx context.Context) (string, error) {
	image, err := c.env.flowImage()
	if err != nil {
		return "", err
	}
	return image.ensure(ctx, c)
}

// flowImage takes Python from Debian, and all else from PyPI.
func (e *env) flowImage() (debianImage, error) {
	dir := filepath.Join(e.root, "e2e/images/flow")
	flows, err := filepath.Glob(filepath.Join(dir, "prefect_keda_flows", "*.py"))
	requirements, constraints := filepath.Join(e.root, "e2e/python/requirements.txt"), filepath.Join(dir, "constraints.txt")
	return debianImage{
		name: "prefect-keda-flow", what: "the flow image with the real Prefect 1.4.1 client,", dir: dir,
		inputs:   append(flows, constraints, requirements),
		packages: "python3,python3-pip,ca-certificates",
		env:      []string{"REQUIREMENTS=" + requirements, "CONSTRAINTS=" + constraints, "FLOWS=" + filepath.Join(dir, "prefect_keda_flows")},
		config: []string{
			"ENV PATH=/usr/local/bin:/usr/bin:/bin", "ENV PYTHONPATH=/opt/flows", "ENV HOME=/tmp",
			"ENV PREFECT__HOME_DIR=/tmp/.prefect", "ENV LANG=C.UTF-8", "USER 65532:65532",
		},
	}, err
}

// Prefect3Image is an image with the real Prefect 3 and PostgreSQL, in the Docker daemon and in
// the node. The server, its database, flows and the Kubernetes worker all run in it.
func (c *Cluster) Prefect3Image(ctx context.Context) (string, error) {
	image, err := c.env.prefect3Image()
	if err != nil {
		return "", err
	}
	return image.ensure(ctx, c)
}

func (e *env) prefect3Image() (debianImage, error) {
	dir := filepath.Join(e.root, "e2e/images/prefect3")
	flows, err := filepath.Glob(filepath.Join(dir, "flows", "*.py"))
	constraints := filepath.Join(e.root, "e2e/python/prefect3-constraints.txt")
	return debianImage{
		name: "prefect-keda-prefect3", what: "the image with the real Prefect 3 and PostgreSQL,", dir: dir,
		inputs:   append(flows, constraints, filepath.Join(dir, "install.sh")),
		packages: "python3,python3-pip,ca-certificates,postgresql",
		without:  []string{"/usr/lib/*/libLLVM*", "/usr/lib/*/libz3*"}, // a compiler inside PostgreSQL, a third of it all
		env:      []string{"FROM=" + dir, "CONSTRAINTS=" + constraints},
		config: []string{
			"ENV PATH=/usr/local/bin:/usr/bin:/bin", "ENV HOME=/tmp", "ENV PREFECT_HOME=/tmp/.prefect", "ENV LANG=C.UTF-8", "USER 65532:65532",
		},
	}, err
}
