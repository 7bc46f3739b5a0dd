package jobs

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/kube"
)

// An endless log is read only until the call's deadline.
func TestLogThatDoesNotEnd(t *testing.T) {
	begun := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "a line\n")
		_ = http.NewResponseController(w).Flush()
		close(begun)
		<-r.Context().Done()
	}))
	defer server.Close()
	client, err := kube.NewClient(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	c := New("flows", nil, func(string) Client { return Client{Log: client.Logs("flows")} }, kubernetesrun.Marks(), slog.New(slog.DiscardHandler))
	if text, err := c.LastLines(ctx, "flows", "pod-r", "flow", false, 50); err == nil {
		t.Errorf("read %q", text)
	}
}
