package source_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun/source"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// The caller's deadline ends a read from a server that takes the request and is
// silent, over a real connection; nobody is told that it is the author's fault.
func TestDeadline(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := source.New(nil).Read(ctx, server.URL+"/job.yaml")
	var author *prefect.AuthorError
	if !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &author) {
		t.Errorf("error %v, want one of a deadline that is not the author's", err)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "job.yaml")
	if err := os.WriteFile(path, []byte("kind: Job"), 0o600); err != nil {
		t.Fatal(err)
	}
	odd := filepath.Join(dir, "100%20.yaml")
	if err := os.WriteFile(odd, []byte("odd"), 0o600); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, make([]byte, 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/job.yaml":
			w.Write([]byte("kind: Job"))
		case "/away":
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()

	for _, tc := range []struct {
		name, location, want, problem string
		author                        bool
	}{
		{name: "path", location: path, want: "kind: Job"},
		{name: "file URL", location: "file://" + path, want: "kind: Job"},
		{name: "agent URL", location: "agent://" + path, want: "kind: Job"},
		{name: "percent signs", location: odd, want: "odd"},
		{name: "percent signs in a URL", location: "file://host" + odd + "?x", want: "odd"},
		{name: "a pipe that nobody writes to", location: pipe, problem: "is not a file", author: true},
		{name: "a directory", location: dir, problem: "is not a file", author: true},
		{name: "a device", location: "/dev/zero", problem: "/dev/zero is not a file", author: true},
		{name: "http", location: server.URL + "/job.yaml", want: "kind: Job"},
		{name: "no such file", location: dir + "/none", problem: "Job template doesn't exist at", author: true},
		{name: "too large", location: large, problem: "larger than 1 MiB", author: true},
		{name: "not found", location: server.URL + "/none?signature=secret", problem: "answers 404", author: true},
		{name: "server away", location: server.URL + "/away", problem: "503"},
		{name: "nobody listens", location: "http://127.0.0.1:1/job.yaml?signature=secret", problem: "refused"},
		{name: "a location that is none", location: "http://" + strings.Repeat("x", 8<<10), problem: "has 8199 bytes, and may have 8192", author: true},
		{name: "scheme", location: "ftp://host/job.yaml", problem: "Unsupported file scheme ftp://host/job.yaml", author: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := source.New(nil).Read(t.Context(), tc.location)
			if tc.problem == "" {
				if err != nil || string(got) != tc.want {
					t.Fatalf("Read = %q, %v; want %q", got, err, tc.want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.problem) || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %v; want one with %q and no query string", err, tc.problem)
			}
			var author *prefect.AuthorError
			if errors.As(err, &author) != tc.author {
				t.Errorf("addressed to the author: %v, want %v", !tc.author, tc.author)
			}
		})
	}
}
