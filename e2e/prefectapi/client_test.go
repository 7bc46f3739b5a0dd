package prefectapi

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A server that asks for an auth string and for a token, which it forgets once, and is busy once.
func TestWritesBringWhatTheServerAsksFor(t *testing.T) {
	tokens, busy := 0, true
	var bodies []string
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/csrf-token", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("client") == "" {
			t.Error("no client asks for the token")
		}
		tokens++
		_ = json.NewEncoder(w).Encode(map[string]string{"token": map[int]string{1: "old", 2: "new"}[tokens]})
	})
	mux.HandleFunc("POST /api/flow_runs/r/set_state", func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "who" || password != "is: it" {
			t.Errorf("the auth string is %q, %q", user, password)
		}
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(body))
		switch {
		case r.Header.Get("Prefect-Csrf-Token") != "new":
			w.WriteHeader(http.StatusForbidden)
		case busy:
			busy = false
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			_, _ = io.WriteString(w, `{"status": "ACCEPT"}`)
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	c := New(server.URL+"/api", "who:is: it", nil)
	status, err := c.SetState(t.Context(), "r", "CANCELLING", "Cancelling", false)
	if err != nil || status != "ACCEPT" {
		t.Errorf("SetState = %q, %v", status, err)
	}
	const body = `{"force":false,"state":{"name":"Cancelling","type":"CANCELLING"}}`
	if diff := cmp.Diff([]string{body, body, body}, bodies); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// All pages of a list are read, and a server without tokens is asked for none.
func TestRunsReadsEveryPage(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/csrf-token", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnprocessableEntity) })
	mux.HandleFunc("POST /api/flow_runs/filter", func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Offset, Limit int }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || r.Header.Get("Prefect-Csrf-Token") != "" {
			t.Errorf("the request: %v, %v", err, r.Header)
		}
		_ = json.NewEncoder(w).Encode(make([]Run, min(asked.Limit, 250-asked.Offset)))
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	runs, err := New(server.URL+"/api", "", nil).Runs(t.Context(), "p")
	if err != nil || len(runs) != 250 {
		t.Errorf("%d runs, %v; want 250", len(runs), err)
	}
}
