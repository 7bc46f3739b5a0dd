//go:build conformance

package conformance

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/e2e/python"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/servertest"
)

// realServers are the servers that we test with, by version: the newest and the oldest.
func realServers() map[string]python.Environment {
	return map[string]python.Environment{"3.9.1": python.Prefect3(), "2.20.26": python.Prefect2()}
}

// clientsServers are the same, or on demand those of PREFECT_KEDA_SERVERS, whose packages have
// no fixed versions.
func clientsServers() map[string]python.Environment {
	versions := strings.FieldsFunc(os.Getenv("PREFECT_KEDA_SERVERS"), func(r rune) bool { return r == ',' || r == ' ' })
	if len(versions) == 0 {
		return realServers()
	}
	// Servers of before 3.8 do not work with newer ones of these, which they allow.
	of := []string{"fastapi<0.119", "importlib_metadata<9", "pydantic<2.12", "starlette<0.49", "typer<0.20"}
	all := map[string]python.Environment{}
	for _, v := range versions {
		all[v] = python.Environment{What: "Prefect " + v, Packages: append([]string{"prefect==" + v}, of...), Versions: []string{"3.11"}}
	}
	return all
}

// The real servers pass the tests that the stand-in passes in its own package.
func TestRealServers(t *testing.T) {
	for version, of := range realServers() {
		t.Run(version, func(t *testing.T) {
			t.Parallel() // much of the time is waiting
			began := time.Now()
			server := newServer(t, of)
			server.start()
			t.Logf("started after %s", time.Since(began).Round(time.Second))
			servertest.Run(t, servertest.Server{URL: server.url(), Version: version, Lease: lease, Wait: time.Sleep, Restart: server.restart})
			t.Logf("all in %s", time.Since(began).Round(time.Second))
		})
	}
}

const (
	// lease is the shortest that a server may be told.
	lease = 30 * time.Second
	// startsWithin is time for the first start, which makes a database, on a busy machine.
	startsWithin = 5 * time.Minute
	stopsWithin  = 10 * time.Second
)

// server is a Prefect server from PyPI on SQLite in a directory of the test's own.
type server struct {
	t      *testing.T
	python string
	home   string
	port   string
	cmd    *exec.Cmd
	output bytes.Buffer
	exited chan error
}

func newServer(t *testing.T, of python.Environment) *server {
	t.Helper()
	s := &server{t: t, python: interpreterOf(t, of), home: t.TempDir()}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, s.port, err = net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("the server's last words:\n%s", s.output.Bytes()[max(0, s.output.Len()-4000):])
		}
	})
	return s
}

func (s *server) url() string { return "http://127.0.0.1:" + s.port + "/api" }

// start runs the server with nothing of this machine's own Prefect configuration, and
// waits until it is ready.
func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command(filepath.Join(filepath.Dir(s.python), "prefect"), "server", "start", "--host", "127.0.0.1", "--port", s.port) //nolint:noctx // stop ends it, with time to close its database
	s.cmd.Env = []string{
		"PATH=" + filepath.Dir(s.python) + ":" + os.Getenv("PATH"), "HOME=" + s.home, "PREFECT_HOME=" + s.home, "DO_NOT_TRACK=1",
		"PREFECT_SERVER_ANALYTICS_ENABLED=false", "PREFECT_UI_ENABLED=false", "PREFECT_SERVER_UI_ENABLED=false",
		"PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION=" + fmt.Sprint(int(lease/time.Second)),
	}
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.home, &s.output, &s.output
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it starts another process
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.exited = make(chan error, 1)
	go func() { s.exited <- s.cmd.Wait() }()
	ctx, cancel := context.WithTimeout(s.t.Context(), startsWithin)
	defer cancel()
	for !s.ready(ctx) {
		select {
		case err := <-s.exited:
			s.t.Fatalf("the server ended: %v\n%s", err, s.output.String())
		case <-ctx.Done():
			s.t.Fatal("the server is not ready in time")
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (s *server) ready(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url()+"/ready", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// stop ends the server and what it started.
func (s *server) stop() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	group := -s.cmd.Process.Pid
	syscall.Kill(group, syscall.SIGTERM) //nolint:errcheck // it may have ended
	select {
	case <-s.exited:
	case <-time.After(stopsWithin):
	}
	syscall.Kill(group, syscall.SIGKILL) //nolint:errcheck // it may have ended
	s.cmd = nil
}

func (s *server) restart() {
	s.stop()
	s.start()
}
