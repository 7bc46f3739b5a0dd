package soak

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// repository has three commits; its build.sh copies the file whose content is the commit's name.
func repository(t *testing.T, tags ...string) (root string, commits []string) {
	t.Helper()
	root = t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", root, "-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
	}
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run("init", "-q")
	write("hack/build.sh", "#!/bin/sh\ncd \"$(dirname \"$0\")/..\" && mkdir -p $1 && echo $VERSION $GOOS $2 `cat name` >$1/prefect-keda\n")
	for i, name := range []string{"one", "two", "three"} {
		write("name", name)
		run("add", ".")
		run("commit", "-q", "-m", name)
		if i < len(tags) && tags[i] != "" {
			run("tag", tags[i])
		}
		commit, err := git(t.Context(), root, "rev-parse", "HEAD")
		if err != nil {
			t.Fatal(err)
		}
		commits = append(commits, commit)
	}
	return root, commits
}

func TestBefore(t *testing.T) {
	for name, tc := range map[string]struct {
		tags   []string
		ref    string
		commit int
		want   string
	}{
		"the newest tag":                    {[]string{"v1.0.0", "v1.1.0"}, "", 1, "v1.1.0"},
		"in the commit of a release":        {[]string{"", "v1.0.0", "v1.1.0"}, "", 1, "v1.0.0"},
		"the one that is asked for":         {[]string{"v1.0.0", "v1.1.0"}, "v1.0.0", 0, "v1.0.0"},
		"a commit that is asked for":        {nil, "HEAD^", 1, "HEAD^"},
		"a release whose code is asked for": {[]string{"", "v1.0.0"}, "HEAD", 2, "HEAD"},
	} {
		t.Run(name, func(t *testing.T) {
			root, commits := repository(t, tc.tags...)
			got, err := Before(t.Context(), root, tc.ref)
			if want := (Release{tc.want, commits[tc.commit]}); err != nil || got != want {
				t.Errorf("%v, %v; want %v", got, err, want)
			}
		})
	}
}

// A clone that lacks the release before says how to get it.
func TestBeforeIsNotHere(t *testing.T) {
	root, _ := repository(t)
	for _, ref := range []string{"", "v0.1.0"} {
		_, err := Before(t.Context(), root, ref)
		want := ref
		if ref == "" {
			want = firstBefore
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "fetch-depth: 0") || !strings.Contains(err.Error(), "-before") {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

// The tree is that of the release, and is built once.
func TestTree(t *testing.T) {
	root, commits := repository(t)
	dir := filepath.Join(t.TempDir(), "before")
	for range 2 {
		tree, err := Release{Name: "v1", Commit: commits[0]}.Tree(t.Context(), root, dir)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(Binary(tree)); err != nil || string(text) != "v1 linux prefect-keda one\n" {
			t.Errorf("%q, %v", text, err)
		}
		root = "/nowhere"
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := (Release{Name: "v1", Commit: commits[1]}).Tree(t.Context(), root, dir); err == nil || !strings.Contains(err.Error(), "read the release before, v1") {
		t.Errorf("without a repository: %v", err)
	}
}
