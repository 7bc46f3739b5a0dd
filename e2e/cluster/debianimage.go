package cluster

import (
	"context"
	"os"
	"path/filepath"
)

// debianImage is an image of Debian packages and of what a script adds to them. Where images
// can be pulled, a Dockerfile makes the like of it.
type debianImage struct {
	name string // the repository of the image
	what string // for the person who waits
	// dir has the script setup.sh and the Dockerfile.
	dir string
	// inputs are the files, beside these two, that the image is made from.
	inputs   []string
	packages string
	without  []string // paths that the packages bring and nobody needs
	env      []string // for the script
	config   []string // of the image, as a Dockerfile spells it
}

// debootstrap makes a small root filesystem: without the hook, Perl comes along to merge
// /usr; without the exclusions, translations and manuals do.
func (d debianImage) debootstrap() []string {
	args := []string{
		"--quiet", "--variant=minbase", "--include=" + d.packages,
		"--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr",
	}
	for _, unused := range []string{"locale", "man", "doc", "info"} {
		args = append(args, "--dpkgopt=path-exclude=/usr/share/"+unused+"/*")
	}
	for _, unused := range d.without {
		args = append(args, "--dpkgopt=path-exclude="+unused)
	}
	return args
}

// ensure makes the image if Docker does not have it, and puts it into the node.
func (d debianImage) ensure(ctx context.Context, c *Cluster) (string, error) {
	unlock, err := c.env.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	inputs, err := fileInputs(append(d.inputs, filepath.Join(d.dir, "Dockerfile"), filepath.Join(d.dir, "setup.sh"))...)
	if err != nil {
		return "", err
	}
	inputs = append(inputs, d.debootstrap()...)
	ref := d.name + ":" + key(append(inputs, d.config...)...)
	if c.env.hasImage(ctx, ref) {
		c.env.say.cached()
		return ref, c.Load(ctx, ref)
	}
	err = c.env.say.step("build "+d.what+" "+ref, func() error {
		if c.pulls {
			return c.env.dockerBuild(ctx, "-t", ref, d.dir)
		}
		return d.build(ctx, c.env, ref)
	})
	if err != nil {
		return "", err
	}
	c.env.removeOthers(ctx, ref)
	return ref, c.Load(ctx, ref)
}

func (d debianImage) build(ctx context.Context, e *env, ref string) error {
	if err := e.aptInstall(ctx, map[string]string{"mmdebstrap": "mmdebstrap"}); err != nil {
		return err
	}
	rootfs := filepath.Join(e.cache, d.name+"-rootfs.tar")
	defer os.Remove(rootfs)
	if _, err := run(ctx, command{
		name: "mmdebstrap",
		args: append(d.debootstrap(), "--customize-hook=bash "+filepath.Join(d.dir, "setup.sh")+` "$1"`, "bookworm", rootfs),
		env:  d.env,
	}); err != nil {
		return err
	}
	args := []string{"import"}
	for _, line := range d.config {
		args = append(args, "-c", line)
	}
	_, err := e.docker(ctx, append(args, rootfs, ref)...)
	return err
}
