//go:build conformance

package conformance

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/e2e/python"
)

// interpreterOf returns the path of an environment's Python.
func interpreterOf(t *testing.T, e python.Environment) string {
	t.Helper()
	path, err := e.Interpreter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// prefect runs the real client or agent with nothing of this machine's own
// Prefect configuration, and returns what it printed.
func prefect(t *testing.T, api string, env []string, args ...string) string {
	t.Helper()
	return prefectWith(t, nil, api, env, args...)
}

func prefectWith(t *testing.T, stdin io.Reader, api string, env []string, args ...string) string {
	t.Helper()
	python := interpreterOf(t, python.Prefect1())
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
