package prefecttest

import (
	"encoding/json"
	"net/http"
)

// Control serves the levers over HTTP, for a stand-in in a cluster. It has no
// authentication and belongs nowhere near production.
func (a *API) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /control/runs", func(w http.ResponseWriter, r *http.Request) {
		var o Order
		if read(w, r, &o) {
			write(w, a.CreateRuns(o))
		}
	})
	mux.HandleFunc("GET /control/runs", func(w http.ResponseWriter, r *http.Request) { write(w, a.Runs(r.URL.Query()["id"]...)) })
	mux.HandleFunc("GET /control/states", func(w http.ResponseWriter, _ *http.Request) { write(w, a.States()) })
	mux.HandleFunc("GET /control/counts", func(w http.ResponseWriter, _ *http.Request) { write(w, a.Counts()) })
	mux.HandleFunc("POST /control/faults", func(w http.ResponseWriter, r *http.Request) {
		var f Fault
		if read(w, r, &f) {
			a.Break(f)
			write(w, "broken")
		}
	})
	mux.HandleFunc("DELETE /control/faults", func(w http.ResponseWriter, _ *http.Request) {
		a.Mend()
		write(w, "mended")
	})
	mux.HandleFunc("POST /control/cancel", func(w http.ResponseWriter, r *http.Request) {
		a.Cancel(r.URL.Query().Get("id"))
		write(w, "cancelled")
	})
	mux.HandleFunc("POST /control/lazarus", func(w http.ResponseWriter, _ *http.Request) { write(w, a.Lazarus()) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { write(w, "ok") })
	return mux
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the client has left
}
