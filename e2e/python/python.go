// Package python makes Python environments with the real Prefect in them, for tests that need
// its client, agent, worker or server. Each is made once and kept in the user's cache. The
// package knows nothing of what the environments are for.
package python

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prefect-keda/prefect-keda/e2e/cluster"
	"github.com/prefect-keda/prefect-keda/e2e/debian"
)

//go:embed *.txt
var pins embed.FS

// Environment is a Python environment whose packages have fixed versions.
type Environment struct {
	// What it is, for people.
	What string
	// Pins is a file of this package with the versions. Without one, Packages are installed.
	Pins     string
	Packages []string
	// Versions of Python that the packages work with.
	Versions []string
}

// Prefect1 has the client and the agent.
func Prefect1() Environment {
	return Environment{What: "Prefect 1.4.1", Pins: "requirements.txt", Versions: []string{"3.11", "3.10", "3.9"}}
}

// Prefect2 has the server.
func Prefect2() Environment {
	return Environment{What: "Prefect 2.20.26", Pins: "prefect2-constraints.txt", Versions: []string{"3.11"}}
}

// Prefect3 has the server, the client and the Kubernetes worker.
func Prefect3() Environment {
	return Environment{What: "Prefect 3.9.1", Pins: "prefect3-constraints.txt", Versions: []string{"3.11"}}
}

// Interpreter returns the path of the environment's Python. It makes the environment if it is
// not there, which takes minutes, and says so.
func (e Environment) Interpreter(ctx context.Context) (path string, err error) {
	wanted := []byte(strings.Join(e.Packages, " "))
	if e.Pins != "" {
		if wanted, err = pins.ReadFile(e.Pins); err != nil {
			return "", err
		}
	}
	base, version, err := e.findPython(ctx)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append(wanted, version...))
	cache, err := cluster.CacheDir()
	if err != nil {
		return "", err
	}
	venv := filepath.Join(cache, "venv-"+hex.EncodeToString(sum[:6]))
	python := filepath.Join(venv, "bin", "python")
	complete := filepath.Join(venv, "complete")
	if _, err := os.Stat(complete); err == nil {
		return python, nil
	}
	fmt.Println("making a Python environment with", e.What, "in", venv)
	if err := create(ctx, base, venv); err != nil {
		return "", err
	}
	install := append([]string{"-m", "pip", "install", "--quiet"}, e.Packages...)
	if e.Pins != "" {
		file := filepath.Join(venv, e.Pins)
		if err := os.WriteFile(file, wanted, 0o600); err != nil {
			return "", err
		}
		install = append(install, "-r", file)
	}
	if out, err := exec.CommandContext(ctx, python, install...).CombinedOutput(); err != nil { //nolint:gosec // our own arguments
		return "", fmt.Errorf("install %s with pip: %w\n%s", e.What, err, out)
	}
	return python, os.WriteFile(complete, nil, 0o600)
}

// create makes an empty environment.
func create(ctx context.Context, python, venv string) error {
	once := func() ([]byte, error) {
		if err := os.RemoveAll(venv); err != nil {
			return nil, err
		}
		return exec.CommandContext(ctx, python, "-m", "venv", venv).CombinedOutput()
	}
	out, err := once()
	if err == nil {
		return nil
	}
	// Debian keeps the module in a package of its own.
	fmt.Println("installing python3-venv:", strings.TrimSpace(string(out)))
	if err := debian.Install(ctx, "python3-venv"); err != nil {
		return fmt.Errorf("python3 -m venv does not work and python3-venv cannot be installed: %w", err)
	}
	if out, err := once(); err != nil {
		return fmt.Errorf("python3 -m venv: %w\n%s", err, out)
	}
	return nil
}

// findPython wants one that the packages work with.
func (e Environment) findPython(ctx context.Context) (path string, version []byte, err error) {
	names := []string{"python3"}
	for _, v := range e.Versions {
		names = append(names, "python"+v)
	}
	for _, name := range names {
		out, err := exec.CommandContext(ctx, name, "-c", "import sys; print(*sys.version_info[:2])").Output()
		if err == nil && slices.Contains(e.Versions, strings.ReplaceAll(strings.TrimSpace(string(out)), " ", ".")) {
			return name, out, nil
		}
	}
	return "", nil, fmt.Errorf("%s needs Python %s, which is not on the PATH as any of %s: "+
		"install it beside what is there (uv python install 3.11, or pyenv install 3.11, or apt-get install python3 on Debian 12)",
		e.What, strings.Join(e.Versions, ", "), strings.Join(names, ", "))
}
