package cluster

import (
	"context"
	"os"
	"path/filepath"
)

// flowPackages come from Debian, all else of the flow image from PyPI.
const flowPackages = "python3,python3-pip,ca-certificates"

// flowDebootstrap makes a small root filesystem: without the hook, Perl comes
// along to merge /usr; without the exclusions, translations and manuals do.
func flowDebootstrap() []string {
	args := []string{
		"--quiet", "--variant=minbase", "--include=" + flowPackages,
		"--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr",
	}
	for _, unused := range []string{"locale", "man", "doc", "info"} {
		args = append(args, "--dpkgopt=path-exclude=/usr/share/"+unused+"/*")
	}
	return args
}

// FlowImage is an image with the real Prefect 1.4.1 client and the flows of
// e2e/images/flow, in the Docker daemon and in the node.
func (c *Cluster) FlowImage(ctx context.Context) (string, error) {
	unlock, err := c.env.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	dir := filepath.Join(c.env.root, "e2e/images/flow")
	requirements := filepath.Join(c.env.root, "e2e/python/requirements.txt")
	files, err := filepath.Glob(filepath.Join(dir, "prefect_keda_flows", "*.py"))
	if err != nil {
		return "", err
	}
	for _, name := range []string{"setup.sh", "constraints.txt", "Dockerfile"} {
		files = append(files, filepath.Join(dir, name))
	}
	inputs, err := fileInputs(append(files, requirements)...)
	if err != nil {
		return "", err
	}
	inputs = append(inputs, flowDebootstrap()...)
	ref := "prefect-keda-flow:" + key(inputs...)
	if c.env.hasImage(ctx, ref) {
		c.env.say.cached()
		return ref, c.Load(ctx, ref)
	}
	err = c.env.say.step("build the flow image "+ref+" with the real Prefect 1.4.1 client", func() error {
		if c.pulls {
			_, err := c.env.docker(ctx, "build", "-q", "-t", ref, dir)
			return err
		}
		return c.env.debianFlowImage(ctx, ref, dir, requirements)
	})
	if err != nil {
		return "", err
	}
	c.env.removeOthers(ctx, ref)
	return ref, c.Load(ctx, ref)
}

func (e *env) debianFlowImage(ctx context.Context, ref, dir, requirements string) error {
	if err := e.aptInstall(ctx, map[string]string{"mmdebstrap": "mmdebstrap"}); err != nil {
		return err
	}
	rootfs := filepath.Join(e.cache, "flow-rootfs.tar")
	defer os.Remove(rootfs)
	if _, err := run(ctx, command{
		name: "mmdebstrap",
		args: append(flowDebootstrap(), "--customize-hook=bash "+filepath.Join(dir, "setup.sh")+` "$1"`, "bookworm", rootfs),
		env: []string{
			"REQUIREMENTS=" + requirements,
			"CONSTRAINTS=" + filepath.Join(dir, "constraints.txt"),
			"FLOWS=" + filepath.Join(dir, "prefect_keda_flows"),
		},
	}); err != nil {
		return err
	}
	_, err := e.docker(ctx, "import",
		"-c", "ENV PATH=/usr/local/bin:/usr/bin:/bin", "-c", "ENV PYTHONPATH=/opt/flows", "-c", "ENV HOME=/tmp",
		"-c", "ENV PREFECT__HOME_DIR=/tmp/.prefect", "-c", "ENV LANG=C.UTF-8", "-c", "USER 65532:65532", rootfs, ref)
	return err
}
