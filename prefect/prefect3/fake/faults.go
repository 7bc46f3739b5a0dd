package fake

import (
	"context"
	"net/http"
	"path"
	"slices"
	"time"
)

// Fault makes requests go wrong. Without Status, Body or Drop it is a delay; Drop without
// Times is a server that is away.
type Fault struct {
	// Route it concerns, as in Counts: "POST /flow_runs/{id}/set_state", where * stands
	// for anything but a slash. Empty for all.
	Route string
	// Times it strikes; zero is until mended.
	Times int
	// After carries the request out first, so that only its answer is lost.
	After bool
	// Delay comes first. The request is carried out after it even when the client has
	// gone, as the real server does.
	Delay time.Duration
	// Status answers with this HTTP status, 503 as a busy SQLite does.
	Status int
	// RetryAfter is the header of that name.
	RetryAfter string
	// Body of the answer; empty for the server's own words.
	Body string
	// Drop closes the connection without an answer.
	Drop bool
}

// Break makes requests go wrong from now on. The first fault that concerns a request
// strikes.
func (a *API) Break(f Fault) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = append(a.faults, &f)
}

// Mend clears all faults.
func (a *API) Mend() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = nil
}

func (a *API) fault(route string) *Fault {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, f := range a.faults {
		if concerns, _ := path.Match(f.Route, route); f.Route != "" && f.Route != route && !concerns {
			continue
		}
		struck := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				a.faults = slices.Delete(a.faults, i, i+1)
			}
		}
		return &struck
	}
	return nil
}

func (f *Fault) wait(ctx context.Context) {
	if f.Delay <= 0 {
		return
	}
	timer := time.NewTimer(f.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// strike reports whether it has ended the request.
func (f *Fault) strike(w http.ResponseWriter) bool {
	switch {
	case f.Drop:
		panic(http.ErrAbortHandler)
	case f.Status != 0 || f.Body != "":
		if f.RetryAfter != "" {
			w.Header().Set("Retry-After", f.RetryAfter)
		}
		status := f.Status
		if status == 0 {
			status = http.StatusOK
		}
		if f.Body == "" {
			send(w, status, refusal{Exception: http.StatusText(status)})
			return true
		}
		w.WriteHeader(status)
		w.Write([]byte(f.Body)) //nolint:errcheck // the client may be gone
		return true
	}
	return false
}
