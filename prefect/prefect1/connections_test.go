package prefect1_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
)

// A connection of its own for every claim of a burst would cost the API and its proxy
// more than the claim itself; the original did so.
func TestConnectionsAreUsedAgain(t *testing.T) {
	const burst = 32
	// A burst gets no answer before all of it has come.
	var together atomic.Pointer[sync.WaitGroup]
	var opened atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if all := together.Load(); all != nil {
			all.Done()
			all.Wait()
		}
		w.Write([]byte(`{"data":{"update_flow_run_heartbeat":{"success":true}}}`)) //nolint:errcheck // the client tells
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	c, err := prefect1.New(prefect1.Options{API: server.URL, Backend: prefect1.Server, TenantID: tenantID})
	if err != nil {
		t.Fatal(err)
	}
	call := func() {
		if _, err := c.Keep(t.Context(), prefect.FlowRun{ID: runID}); err != nil {
			t.Error(err)
		}
	}

	for range 20 {
		call()
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections for 20 calls one after another, want 1", n)
	}
	for i := range 3 {
		var all, calls sync.WaitGroup
		all.Add(burst)
		together.Store(&all)
		for range burst {
			calls.Go(call)
		}
		calls.Wait()
		if n := opened.Load(); n != burst {
			t.Errorf("%d connections after %d bursts of %d calls, want %d", n, i+1, burst, burst)
		}
	}
}
