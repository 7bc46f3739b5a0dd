package soak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// firstBefore stands for the release before while there is no tag. The claims of launchers
// have changed since: they close five gaps, write a launch note, and leave runs alone whose pods
// have failed as often as they may.
const firstBefore = "1fd0ef47566c94a3d49fa986bd075fc1577afe91"

// Release is a state of this repository.
type Release struct {
	// Name is a tag, or what was asked for.
	Name, Commit string
}

// Before is the release before this one: ref if one is given, else the newest tag before this
// commit, else a commit that stands for it.
func Before(ctx context.Context, root, ref string) (Release, error) {
	name := ref
	if name == "" {
		// The commit of a release has its own tag. Where there is no tag, this fails.
		name, _ = git(ctx, root, "describe", "--tags", "--abbrev=0", "HEAD^")
	}
	if name == "" {
		name = firstBefore[:7]
		ref = firstBefore
	}
	if ref == "" {
		ref = name
	}
	commit, err := git(ctx, root, "rev-parse", "--verify", "--quiet", ref+"^{commit}")
	if err != nil {
		return Release{}, fmt.Errorf("the release before, %s, is not in this clone: get it by git fetch --tags --unshallow (with actions/checkout: fetch-depth: 0), or name another one by -before: %w", ref, err)
	}
	return Release{Name: name, Commit: commit}, nil
}

func git(ctx context.Context, root string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && len(exit.Stderr) > 0 {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// Tree is the release's folder beneath dir, with its Linux binary in it. It is made once.
func (r Release) Tree(ctx context.Context, root, dir string) (tree string, err error) {
	tree = filepath.Join(dir, r.Commit[:12]+"-"+runtime.Version())
	if _, err := os.Stat(Binary(tree)); err == nil {
		return tree, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	made, err := os.MkdirTemp(dir, "part-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(made)
	archive := filepath.Join(made, "tree.tar")
	if _, err := git(ctx, root, "archive", "-o", archive, r.Commit); err != nil {
		return "", fmt.Errorf("read the release before, %s: %w", r.Name, err)
	}
	part := filepath.Join(made, "tree")
	if err := os.Mkdir(part, 0o755); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, "tar", "-xf", archive, "-C", part).CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack the release before, %s: %w: %s", r.Name, err, out)
	}
	build := exec.CommandContext(ctx, filepath.Join(part, "hack/build.sh"), "bin/linux", "prefect-keda")
	build.Env = append(os.Environ(), "GOOS=linux", "VERSION="+r.Name)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the release before, %s: %w\n%s", r.Name, err, out)
	}
	if err := os.RemoveAll(tree); err != nil {
		return "", err
	}
	return tree, os.Rename(part, tree)
}

// Binary is the product's in a tree.
func Binary(tree string) string { return filepath.Join(tree, "bin/linux/prefect-keda") }
