package ops

import (
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

// HandleAgent adds the agent's pages: /api/health, which says that the process
// is there, and /api/poke, which makes it look for work at once.
func HandleAgent(mux *http.ServeMux, poke func()) {
	mux.HandleFunc("GET /api/health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		fmt.Fprint(w, "{}")
	})
	mux.HandleFunc("GET /api/poke", func(http.ResponseWriter, *http.Request) { poke() })
}
