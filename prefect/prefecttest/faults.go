package prefecttest

import (
	"context"
	"net/http"
	"slices"
	"time"
)

// Fault makes requests go wrong. Without Status, Error, Body or Drop it is a delay; Drop
// without Times is a server that is away.
type Fault struct {
	// Operation is the root field it concerns; empty for all.
	Operation string `json:"operation"`
	// Times it strikes; zero is until cleared.
	Times int `json:"times"`
	// After carries the request out first, so that only its answer is lost.
	After bool `json:"after"`
	// Delay comes first. The request is carried out after it even when the client has
	// gone, as the real server does.
	Delay Duration `json:"delay"`
	// Status answers with this HTTP status.
	Status     int    `json:"status"`
	RetryAfter string `json:"retry_after"`
	// Error answers with a GraphQL error of this text.
	Error string `json:"error"`
	// Body answers with this instead of an envelope, with Status or 200.
	Body string `json:"body"`
	// Drop closes the connection without an answer.
	Drop bool `json:"drop"`
}

// Duration is a time.Duration that JSON spells "1.5s".
type Duration time.Duration

// MarshalText spells the duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
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

func (a *API) fault(operations []string) *Fault {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, f := range a.faults {
		if f.Operation != "" && !slices.Contains(operations, f.Operation) {
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
	timer := time.NewTimer(time.Duration(f.Delay))
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
		status, body := f.Status, f.Body
		if status == 0 {
			status = http.StatusOK
		}
		if body == "" {
			body = "<html>" + http.StatusText(status) + "</html>"
		}
		w.WriteHeader(status)
		w.Write([]byte(body)) //nolint:errcheck // the client may be gone
		return true
	case f.Error != "":
		out := refusal(codeInternal, f.Error)
		out.Data = []byte("null")
		send(w, http.StatusOK, out)
		return true
	}
	return false
}
