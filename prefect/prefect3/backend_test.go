package prefect3_test

import (
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/backendtest"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

// The client keeps the contract of backends at the stand-in, whatever the server's version.
func TestBackend(t *testing.T) {
	for name, tc := range map[string]struct {
		options fake.Options
		client  prefect3.Options
	}{
		"newest":      {},
		"with tokens": {options: fake.Options{CSRF: true, AuthString: "user:pass:word"}, client: prefect3.Options{AuthString: "user:pass:word", Key: "unused"}},
		"Cloud":       {options: fake.Options{Cloud: true, Key: "pnu_key"}, client: prefect3.Options{Key: "pnu_key", API: "https://api.prefect.cloud/api/accounts/a/workspaces/w"}},
		"3.4":         {options: fake.Options{Version: "3.4.11"}},
		"3.1":         {options: fake.Options{Version: "3.1.0"}},
		"2.20":        {options: fake.Options{Version: "2.20.26"}},
	} {
		t.Run(name, func(t *testing.T) {
			backendtest.Run(t, prefect.Lost, func(t *testing.T) backendtest.World {
				return &world{API: fake.New(tc.options), t: t, client: tc.client}
			})
		})
	}
}

// world is the stand-in in the terms of the contract's tests.
type world struct {
	*fake.API
	t      *testing.T
	client prefect3.Options
}

func (w *world) Backend() backendtest.Backend {
	c := clientOf(w.t, w.API, w.client)
	if w.client.AuthString != "" { // the first of a client's writes only tells it that it needs a token
		if _, err := c.Claimed(w.t.Context(), prefect.Scope{}); err != nil {
			w.t.Error(err)
		}
	}
	return c
}

// clientOf is a client of the stand-in.
func clientOf(t testing.TB, api *fake.API, o prefect3.Options) *prefect3.Client {
	t.Helper()
	if o.API == "" {
		o.API = "http://prefect.example/api"
	}
	o.HTTPTransport = api.Transport()
	c, err := prefect3.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *world) Here() (prefect.Place, prefect.Scope) {
	return prefect.Place{Pool: "k8s", Queue: "default"}, prefect.Scope{Pools: []string{"k8s"}}
}

func (w *world) Elsewhere() (prefect.Place, prefect.Scope) {
	return prefect.Place{Pool: "Größe 2", Queue: "high"}, prefect.Scope{Pools: []string{"Größe 2", "other"}, Queues: []string{"high", "low"}}
}

func (w *world) Schedule(due time.Time, at prefect.Place) string {
	deployment := w.CreateDeployment(fake.Deployment{Pool: at.Pool, Queue: at.Queue})
	return w.CreateRuns(fake.Order{Deployment: deployment, At: due})[0]
}

func (w *world) Set(id string, to prefect.Phase) {
	switch to {
	case prefect.Waiting:
		w.Retry(id)
	case prefect.Held:
		w.Propose(id, fake.Proposal{Type: "PAUSED", Name: "Suspended", Reschedule: true, Force: true})
	case prefect.Running:
		w.Begin(id)
	case prefect.Cancelling:
		w.Cancel(id)
	case prefect.Cancelled:
		w.Propose(id, fake.Proposal{Type: "CANCELLED", Message: "by a person", Force: true})
	case prefect.Finished:
		w.Propose(id, fake.Proposal{Type: "COMPLETED", Message: "All states completed."})
	}
}

func (w *world) Pause(at prefect.Place, paused bool) {
	w.CreatePool(fake.Pool{Name: at.Pool, Paused: paused})
}

// Beat does nothing: a run with an active Job is not silent.
func (w *world) Beat(string) {}

func (w *world) Break(f backendtest.Fault) {
	w.Mend()
	switch f {
	case backendtest.LoseRequest:
		w.API.Break(fake.Fault{Drop: true})
	case backendtest.LoseAnswer:
		w.API.Break(fake.Fault{Drop: true, After: true})
	case backendtest.RefuseKey:
		w.API.Break(fake.Fault{Status: 401})
	case backendtest.LeaveAlone:
		w.API.Break(fake.Fault{Status: 429, RetryAfter: "60.0"})
	case backendtest.NoFault:
	}
}

func (w *world) Logged(id string) (lines []string) {
	levels := map[int]string{10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR"}
	for _, l := range w.Logs(id) {
		lines = append(lines, levels[l.Level]+" "+l.Name+": "+l.Message)
	}
	return lines
}
