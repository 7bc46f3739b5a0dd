package informer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/jobs/informer"
	"github.com/prefect-keda/prefect-keda/kube"
)

// api is an API server without objects. It is a transport beneath the real client, because
// a bubble allows no sockets.
type api struct {
	mu sync.Mutex
	// fails says what becomes of a request; nil answers all of them.
	fails   func(*http.Request) (status int, err error)
	streams []*stream
}

func (a *api) client(t *testing.T) informer.Client {
	t.Helper()
	return clientOf(t, &rest.Config{Host: "http://kubernetes", Transport: a})
}

func clientOf(t *testing.T, config *rest.Config) informer.Client {
	t.Helper()
	c, err := kube.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return informer.Client{
		Jobs: c.Jobs("flows"), Pods: c.Pods("flows"),
		UID: func(ctx context.Context) (string, error) { return c.NamespaceUID(ctx, "flows") },
	}
}

// become makes later requests fail like this, and ends all watches.
func (a *api) become(fails func(*http.Request) (int, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fails = fails
	for _, s := range a.streams {
		_ = s.Close()
	}
	a.streams = nil
}

// refusing is the answer of a port without a listener.
func refusing(*http.Request) (int, error) {
	return 0, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

func (a *api) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	fails := a.fails
	a.mu.Unlock()
	if fails != nil {
		if status, err := fails(r); err != nil {
			return nil, err
		} else if status != 0 {
			reasons := map[int]string{403: "Forbidden", 410: "Expired", 422: "Invalid", 429: "TooManyRequests"}
			return answer(r, status, body(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reasons[status], "code": status, "message": "no"})), nil
		}
	}
	kind, version := "Job", "batch/v1"
	switch {
	case strings.HasSuffix(r.URL.Path, "/namespaces/flows"):
		return answer(r, http.StatusOK, body(map[string]any{"metadata": map[string]any{"uid": "here"}})), nil
	case strings.HasSuffix(r.URL.Path, "/pods"):
		kind, version = "Pod", "v1"
	}
	if r.URL.Query().Get("watch") == "" {
		return answer(r, http.StatusOK, body(map[string]any{"kind": kind + "List", "apiVersion": version, "metadata": map[string]any{"resourceVersion": "7"}, "items": []any{}})), nil
	}
	s := &stream{ctx: r.Context(), closed: make(chan struct{})}
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		s.first = body(map[string]any{"type": "BOOKMARK", "object": map[string]any{
			"kind": kind, "apiVersion": version,
			"metadata": map[string]any{"resourceVersion": "7", "annotations": map[string]string{"k8s.io/initial-events-end": "true"}},
		}})
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.streams = append(a.streams, s)
	return answer(r, http.StatusOK, s), nil
}

func answer(r *http.Request, status int, b io.ReadCloser) *http.Response {
	return &http.Response{
		Request: r, StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: b, ContentLength: -1,
	}
}

func body(v any) io.ReadCloser {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return io.NopCloser(bytes.NewReader(text))
}

// stream is the body of a watch: it ends only when it is closed.
type stream struct {
	ctx    context.Context
	first  io.Reader
	once   sync.Once
	closed chan struct{}
}

func (s *stream) Read(p []byte) (int, error) {
	if s.first != nil {
		n, err := s.first.Read(p)
		if err == nil {
			return n, nil
		}
		s.first = nil
	}
	select {
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	case <-s.closed:
		return 0, io.EOF
	}
}

func (s *stream) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}
