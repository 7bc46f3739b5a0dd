//go:build conformance

package conformance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// pinned is a Python environment whose packages have fixed versions.
type pinned struct {
	what string
	// requirements is a file in e2e/python; without one, packages are installed.
	requirements string
	packages     []string
	// pythons are the versions of Python that the packages work with.
	pythons []string
}

func prefect1Environment() pinned {
	return pinned{what: "Prefect 1.4.1", requirements: "requirements.txt", pythons: []string{"3.11", "3.10", "3.9"}}
}

func prefect3Environment() pinned {
	return pinned{what: "Prefect 3.9.1", requirements: "prefect3-constraints.txt", pythons: []string{"3.11"}}
}

// interpreter returns the environment's Python. The environment is made once and kept
// in the cache.
func (p pinned) interpreter(t *testing.T) string {
	t.Helper()
	pins, install := []byte(strings.Join(p.packages, " ")), p.packages
	if p.requirements != "" {
		requirements := filepath.Join("../python", p.requirements)
		var err error
		if pins, err = os.ReadFile(requirements); err != nil {
			t.Fatal(err)
		}
		install = []string{"-r", requirements}
	}
	base, version := p.findPython(t)
	sum := sha256.Sum256(append(pins, version...))
	cache := os.Getenv("PREFECT_KEDA_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(user, "prefect-keda")
	}
	venv := filepath.Join(cache, "venv-"+hex.EncodeToString(sum[:6]))
	python := filepath.Join(venv, "bin", "python")
	complete := filepath.Join(venv, "complete")
	if _, err := os.Stat(complete); err == nil {
		return python
	}
	fmt.Println("making a Python environment with", p.what, "in", venv)
	os.RemoveAll(venv)
	if out, err := exec.CommandContext(t.Context(), base, "-m", "venv", venv).CombinedOutput(); err != nil {
		// Debian keeps the module in a package of its own.
		fmt.Println("installing python3-venv:", strings.TrimSpace(string(out)))
		install := exec.CommandContext(t.Context(), "sh", "-c", "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv")
		if out, err := install.CombinedOutput(); err != nil {
			t.Fatalf("python3 -m venv does not work and python3-venv cannot be installed: %v\n%s", err, out)
		}
		os.RemoveAll(venv)
		if out, err := exec.CommandContext(t.Context(), base, "-m", "venv", venv).CombinedOutput(); err != nil {
			t.Fatalf("python3 -m venv: %v\n%s", err, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), python, append([]string{"-m", "pip", "install", "--quiet"}, install...)...).CombinedOutput(); err != nil {
		t.Fatalf("pip install: %v\n%s", err, out)
	}
	if err := os.WriteFile(complete, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return python
}

// findPython wants one that the packages work with.
func (p pinned) findPython(t *testing.T) (path string, version []byte) {
	t.Helper()
	names := []string{"python3"}
	for _, v := range p.pythons {
		names = append(names, "python"+v)
	}
	for _, name := range names {
		out, err := exec.CommandContext(t.Context(), name, "-c", "import sys; print(*sys.version_info[:2])").Output()
		if err == nil && slices.Contains(p.pythons, strings.ReplaceAll(strings.TrimSpace(string(out)), " ", ".")) {
			return name, out
		}
	}
	t.Fatalf("%s needs Python %s, which is not on the PATH as any of %s: "+
		"install it beside what is there (uv python install 3.11, or pyenv install 3.11, or apt-get install python3 on Debian 12)",
		p.what, strings.Join(p.pythons, ", "), strings.Join(names, ", "))
	return "", nil
}

// prefect runs the real client or agent with nothing of this machine's own
// Prefect configuration, and returns what it printed.
func prefect(t *testing.T, api string, env []string, args ...string) string {
	t.Helper()
	return prefectWith(t, nil, api, env, args...)
}

func prefectWith(t *testing.T, stdin io.Reader, api string, env []string, args ...string) string {
	t.Helper()
	python := prefect1Environment().interpreter(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	home := t.TempDir()
	var modules []string
	for _, dir := range []string{"../images/flow", "../python"} {
		path, err := filepath.Abs(dir)
		if err != nil {
			t.Fatal(err)
		}
		modules = append(modules, path)
	}
	cmd := exec.CommandContext(ctx, python, args...)
	cmd.Env = append([]string{
		"PATH=" + filepath.Dir(python) + ":" + os.Getenv("PATH"), "HOME=" + home, "PYTHONPATH=" + strings.Join(modules, ":"), "FLOW_IMAGE=flow:test",
		"PREFECT__HOME_DIR=" + home, "PREFECT__BACKEND=server", "PREFECT__CLOUD__API=" + api,
	}, env...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String()
}
