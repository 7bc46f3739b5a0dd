package ops

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Check reports what is wrong, or nil.
type Check func() error

// Handler serves /metrics from the registry, /livez and /readyz. More pages can
// be added to what it returns.
func Handler(metrics prometheus.Gatherer, live, ready Check) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.Handle("GET /livez", probe(live))
	mux.Handle("GET /readyz", probe(ready))
	return mux
}

func probe(check Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if err := check(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, err)
			return
		}
		fmt.Fprintln(w, "ok")
	})
}

// HandleAgent adds the agent's pages: /api/health and /api/poke, which makes the
// launcher look for work at once. The agent's health was that its process was
// there (prefect1-spec §1.6); here it is what live finds.
func HandleAgent(mux *http.ServeMux, live Check, poke func()) {
	mux.HandleFunc("GET /api/health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		if err := live(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			// A client that has gone needs no answer.
			_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
			return
		}
		fmt.Fprint(w, "{}")
	})
	mux.HandleFunc("GET /api/poke", func(http.ResponseWriter, *http.Request) { poke() })
}
