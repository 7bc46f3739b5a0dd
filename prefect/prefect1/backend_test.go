package prefect1_test

import (
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/backendtest"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// The client keeps the contract of backends at the stand-in, whatever its API processes
// do with a second claim.
func TestBackend(t *testing.T) {
	for name, tc := range map[string]struct {
		options prefecttest.Options
		second  prefect.Answer
	}{
		"one API process":            {prefecttest.Options{}, prefect.NotNow},
		"API processes side by side": {prefecttest.Options{Replicas: 2}, prefect.Won},
		"versions are compared":      {prefecttest.Options{Locking: prefecttest.LockingByCode}, prefect.Lost},
	} {
		t.Run(name, func(t *testing.T) {
			backendtest.Run(t, tc.second, func(t *testing.T) backendtest.World {
				return &world{API: prefecttest.New(tc.options), t: t}
			})
		})
	}
}

// world is the stand-in in the terms of the contract's tests.
type world struct {
	*prefecttest.API
	t *testing.T
}

func (w *world) Backend() backendtest.Backend {
	c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, HTTPTransport: w.Transport()})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) Here() (at prefect.Place, served prefect.Scope) { return at, served }

func (w *world) Elsewhere() (prefect.Place, prefect.Scope) {
	return prefect.Place{Labels: []string{"gpu"}}, prefect.Scope{Labels: []string{"gpu", "k8s"}}
}

func (w *world) Schedule(due time.Time, at prefect.Place) string {
	flow := w.CreateFlow(prefecttest.FlowSpec{Tasks: []string{"one", "two", "three"}})
	return w.CreateRuns(prefecttest.Order{FlowID: flow, In: prefecttest.Duration(time.Until(due)), Labels: at.Labels})[0]
}

func (w *world) Retry(id string, due ...time.Time) {
	tasks := w.Runs(id)[0].TaskRuns
	for i, at := range due {
		if err := w.SetTaskState(tasks[i].ID, map[string]any{"type": "Retrying", "start_time": at.Format(time.RFC3339Nano)}); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) Set(id string, to prefect.Phase) {
	state := map[string]any{"type": map[prefect.Phase]string{
		prefect.Waiting: "Scheduled", prefect.Held: "Paused", prefect.Running: "Running",
		prefect.Cancelling: "Cancelling", prefect.Cancelled: "Cancelled", prefect.Finished: "Success",
	}[to]}
	if to == prefect.Finished {
		state["message"], state["context"] = "All fine", map[string]any{"tags": []any{"x"}}
		state["_result"] = map[string]any{"type": "SafeResult", "value": 5, "result_handler": map[string]any{}}
	}
	if err := w.SetState(id, state); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) Beat(id string) { w.SetHeartbeat(id, time.Now()) }

func (w *world) Break(f backendtest.Fault) {
	w.Mend()
	switch f {
	case backendtest.LoseRequest:
		w.API.Break(prefecttest.Fault{Drop: true})
	case backendtest.LoseAnswer:
		w.API.Break(prefecttest.Fault{Drop: true, After: true})
	case backendtest.RefuseKey:
		w.API.Break(prefecttest.Fault{Status: 401})
	case backendtest.LeaveAlone:
		w.API.Break(prefecttest.Fault{Status: 429, RetryAfter: "60"})
	case backendtest.NoFault:
	}
}

func (w *world) Logged(id string) (lines []string) {
	for _, l := range w.Runs(id)[0].Logs {
		lines = append(lines, l.Level+" "+l.Name+": "+l.Message)
	}
	return lines
}
