// Package debian installs packages of the machine's own distribution, where that is Debian or
// one that is made of it and we are root.
package debian

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/prefect-keda/prefect-keda/e2e/turn"
)

// CanInstall reports whether this is such a machine.
func CanInstall() bool {
	_, err := exec.LookPath("apt-get")
	return err == nil && os.Geteuid() == 0
}

// Install installs packages. Programs that install at the same time wait for one another:
// apt-get gives up when another one runs.
func Install(ctx context.Context, packages ...string) error {
	release, err := turn.Take(ctx, filepath.Join(os.TempDir(), "prefect-keda-apt.lock"), func() {})
	if err != nil {
		return fmt.Errorf("wait for others that install packages: %w", err)
	}
	defer release()
	for _, args := range [][]string{{"update", "-qq"}, append([]string{"install", "-y", "-qq", "--no-install-recommends"}, packages...)} {
		apt := exec.CommandContext(ctx, "apt-get", args...)
		apt.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := apt.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", args[0], err, out)
		}
	}
	return nil
}
