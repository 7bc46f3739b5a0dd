package ops_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/prefect-keda/prefect-keda/ops"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type answer struct {
	Status int
	Body   string
}

func ask(h http.Handler, method, path string) answer {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return answer{w.Code, w.Body.String()}
}

func TestPages(t *testing.T) {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "prefect_keda_test_total", Help: "Test."})
	registry.MustRegister(counter)
	var live, ready error
	pokes := 0
	mux := ops.Handler(registry, func() error { return live }, func() error { return ready }, ops.Page{Path: "/debug/demand", About: "why launchers are wanted or not"})
	ops.HandleAgent(mux, func() error { return live }, func() { pokes++ })

	for path, want := range map[string]answer{
		"GET /": {200, "/debug/demand   why launchers are wanted or not\n/metrics        for Prometheus\n" +
			"/livez          whether its loop turns\n/readyz         whether it accepts calls\n"},
		"GET /livez":       {200, "ok\n"},
		"GET /readyz":      {200, "ok\n"},
		"GET /api/health":  {200, "{}"},
		"GET /api/poke":    {200, ""},
		"GET /metrics":     {200, "# HELP prefect_keda_test_total Test.\n# TYPE prefect_keda_test_total counter\nprefect_keda_test_total 0\n"},
		"POST /api/poke":   {405, "Method Not Allowed\n"},
		"GET /debug/pprof": {404, "404 page not found\n"},
	} {
		method, path, _ := strings.Cut(path, " ")
		if d := cmp.Diff(want, ask(mux, method, path)); d != "" {
			t.Errorf("%s %s: -want +got:\n%s", method, path, d)
		}
	}
	browser := httptest.NewRequest("GET", "/", nil)
	browser.Header.Set("Accept", "text/html,*/*")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, browser)
	if !strings.Contains(w.Body.String(), `<a href="debug/demand">/debug/demand</a>: why`) {
		t.Errorf("a browser is shown:\n%s", w.Body)
	}
	if pokes != 1 {
		t.Errorf("poked %d times, want once: only by GET", pokes)
	}
	ready = errors.New("no answer from Prefect yet")
	if d := cmp.Diff(answer{503, "no answer from Prefect yet\n"}, ask(mux, "GET", "/readyz")); d != "" {
		t.Errorf("not ready: -want +got:\n%s", d)
	}
	live = errors.New("the loop stands still")
	if d := cmp.Diff(answer{503, `{"error":"the loop stands still"}` + "\n"}, ask(mux, "GET", "/api/health")); d != "" {
		t.Errorf("not healthy: -want +got:\n%s", d)
	}
}

// A request in flight is answered after the end was announced, and the end is
// clean.
func TestServeDrains(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	l, err := ops.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	arrived, release := make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		io.WriteString(w, "late")
	})
	served := make(chan error, 1)
	go func() { served <- ops.Serve(ctx, l, handler) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	body := make(chan string, 1)
	go func() {
		response, err := client.Get("http://" + l.Addr().String())
		if err != nil {
			body <- err.Error()
			return
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		body <- string(text)
	}()
	<-arrived
	stop()
	// Once the listener is closed the drain has begun.
	for {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			break
		}
		c.Close()
	}
	close(release)
	if got := <-body; got != "late" {
		t.Errorf("the request in flight got %q", got)
	}
	if err := <-served; err != nil {
		t.Errorf("a clean stop returned %v", err)
	}
}

func TestPortInUse(t *testing.T) {
	l, err := ops.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := ops.Listen(t.Context(), l.Addr().String()); err == nil || !strings.Contains(err.Error(), "listen on "+l.Addr().String()) {
		t.Errorf("a port in use: %v", err)
	}
}
