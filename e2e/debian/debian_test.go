package debian_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/prefect-keda/prefect-keda/e2e/debian"
)

// Two that install at once take turns, and who fails says why.
func TestInstallTakesTurns(t *testing.T) {
	dir := t.TempDir()
	// It fails as apt-get does while another one runs.
	const apt = `#!/bin/sh
mkdir "$0.runs" || { echo "could not get lock"; exit 100; }
sleep 0.05
rmdir "$0.runs"
case "$*" in *missing*) echo "unable to locate package missing"; exit 100;; esac
echo "$*" >>"$0.log"
`
	if err := os.WriteFile(filepath.Join(dir, "apt-get"), []byte(apt), 0o755); err != nil { //nolint:gosec // it is executed
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("TMPDIR", dir)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := debian.Install(context.Background(), "a", "b"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	log, err := os.ReadFile(filepath.Join(dir, "apt-get.log"))
	if err != nil {
		t.Fatal(err)
	}
	const once = "update -qq\ninstall -y -qq --no-install-recommends a b\n"
	if got := string(log); got != strings.Repeat(once, 4) {
		t.Errorf("asked for\n%s", got)
	}
	if err := debian.Install(context.Background(), "missing"); err == nil || !strings.Contains(err.Error(), "unable to locate package missing") {
		t.Errorf("%v, want what apt-get says", err)
	}
}
