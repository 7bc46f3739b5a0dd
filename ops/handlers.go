package ops

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Check reports what is wrong, or nil.
type Check func() error

// Page is a page that the front page lists.
type Page struct{ Path, About string }

// Handler serves /metrics from the registry, /livez and /readyz, and a front page
// that lists these and others. The caller adds the handlers of the others.
func Handler(metrics prometheus.Gatherer, live, ready Check, others ...Page) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", front(append(others, Page{"/metrics", "for Prometheus"},
		Page{"/livez", "whether its loop turns"}, Page{"/readyz", "whether it accepts calls"})))
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.Handle("GET /livez", probe(live))
	mux.Handle("GET /readyz", probe(ready))
	return mux
}

// front is in plain text for a terminal, and in HTML for a browser.
func front(pages []Page) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept"), "text/html") {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			for _, p := range pages {
				fmt.Fprintf(w, "%-14s  %s\n", p.Path, p.About)
			}
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintln(w, `<!DOCTYPE html><html lang="en"><title>prefect-keda</title><ul>`)
		for _, p := range pages {
			// Relative links also work behind the API server's proxy.
			fmt.Fprintf(w, "<li><a href=\"%s\">%s</a>: %s</li>\n", strings.TrimPrefix(p.Path, "/"), p.Path, p.About)
		}
		fmt.Fprintln(w, "</ul></html>")
	})
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

// HandleAgent adds the agent's pages: /api/health, and /api/poke, which makes the
// launcher poll at once. The agent was healthy while its process existed
// (prefect1 §1.6); the launcher is while live finds nothing wrong.
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
