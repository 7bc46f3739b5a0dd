package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/prefect-keda/prefect-keda/e2e/debian"
)

// capSysResource is CAP_SYS_RESOURCE's bit in the capability masks of /proc.
const capSysResource = 24

// holdsSysResource reads a CapBnd mask as /proc/self/status prints it.
func holdsSysResource(procStatus string) bool {
	for line := range strings.Lines(procStatus) {
		if mask, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			var bits uint64
			if _, err := fmt.Sscanf(strings.TrimSpace(mask), "%x", &bits); err != nil {
				return true
			}
			return bits&(1<<capSysResource) != 0
		}
	}
	return true
}

// docker runs the docker client.
func (e *env) docker(ctx context.Context, args ...string) (string, error) {
	return run(ctx, command{name: "docker", args: args})
}

// dockerBuild builds an image with the builder that this machine's Docker has: buildx, or
// the legacy builder if buildx is missing, as in Debian's package of the client.
func (e *env) dockerBuild(ctx context.Context, args ...string) error {
	build := command{name: "docker", args: append([]string{"build", "-q"}, args...), env: []string{"DOCKER_BUILDKIT=0"}}
	if _, err := e.docker(ctx, "buildx", "version"); err == nil {
		// The context's own builder has the images of this Docker to build from, and leaves them there.
		name, err := e.docker(ctx, "context", "show")
		if err != nil {
			return err
		}
		build.env = []string{"DOCKER_BUILDKIT=1", "BUILDX_BUILDER=" + strings.TrimSpace(name)}
	}
	_, err := run(ctx, build)
	return err
}

// dockerAnswers asks with a deadline, because a dead daemon may have left its socket.
func (e *env) dockerAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, err := e.docker(ctx, "info")
	return err == nil
}

// ensureDocker uses the Docker daemon that is there, or starts one.
func (e *env) ensureDocker(ctx context.Context) error {
	if e.dockerAnswers(ctx) {
		e.say.cached()
		return nil
	}
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return errors.New("no Docker daemon answers: start Docker, or run as root on Debian so that one can be installed")
	}
	if err := e.aptInstall(ctx, map[string]string{"dockerd": "docker.io", "iptables": "iptables"}); err != nil {
		return err
	}
	// From Debian 13 on the client is a package of its own.
	if err := e.aptInstall(ctx, map[string]string{"docker": "docker-cli"}); err != nil {
		return err
	}
	return e.say.step("start a Docker daemon", func() error { return e.startDockerd(ctx) })
}

func (e *env) startDockerd(ctx context.Context) error {
	removeStalePid("/var/run/docker.pid")
	removeStalePid("/var/run/docker/containerd/containerd.pid")
	var args []string
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	if !holdsSysResource(string(status)) {
		wrapper, err := e.build(ctx, reducedRuntime())
		if err != nil {
			return err
		}
		args = append(args, "--add-runtime", "reduced="+wrapper, "--default-runtime", "reduced")
	}
	logPath := filepath.Join(e.cache, "dockerd.log")
	log, err := os.Create(logPath)
	if err != nil {
		return err
	}
	defer log.Close()
	// The daemon outlives this program on purpose: the cluster lives in it. It gets
	// a session of its own, so that Ctrl-C here does not reach it.
	daemon := exec.Command("dockerd", args...)
	daemon.Stdout, daemon.Stderr = log, log
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := daemon.Start(); err != nil {
		return err
	}
	// This waits as long as the daemon lives, possibly longer than this program.
	died := make(chan error, 1)
	go func() { died <- daemon.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		if e.dockerAnswers(ctx) {
			return nil
		}
		select {
		case err := <-died:
			text, _ := os.ReadFile(logPath)
			return fmt.Errorf("dockerd ended: %w\n%s", err, tail(string(text), 20))
		case <-ctx.Done():
			return fmt.Errorf("dockerd does not answer: %w; see %s", ctx.Err(), logPath)
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// removeStalePid removes a pid file whose process is gone or is another program: dockerd
// refuses to start if any process has that number.
func removeStalePid(path string) {
	pid, err := os.ReadFile(path)
	if err != nil {
		return
	}
	comm, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "comm"))
	if err != nil || (!strings.HasPrefix(string(comm), "dockerd") && !strings.HasPrefix(string(comm), "containerd")) {
		os.Remove(path)
	}
}

// aptInstall installs the Debian packages whose command is missing.
func (e *env) aptInstall(ctx context.Context, commands map[string]string) error {
	var missing []string
	for cmd, pkg := range commands {
		if _, err := exec.LookPath(cmd); err != nil {
			missing = append(missing, pkg)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	packages := strings.Join(slices.Compact(missing), ", ")
	if !debian.CanInstall() {
		return fmt.Errorf("%s missing: install by hand, or run as root on a system with apt-get", packages)
	}
	return e.say.step("install "+packages+" (apt-get)", func() error { return debian.Install(ctx, missing...) })
}

// hasImage reports whether Docker holds the image.
func (e *env) hasImage(ctx context.Context, ref string) bool {
	_, err := e.docker(ctx, "image", "inspect", ref)
	return err == nil
}
