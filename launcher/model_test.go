package launcher

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/backendtest"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

// The model on which the interleavings run keeps the contract of backends, as the clients
// do that it stands for.
func TestModelIsABackend(t *testing.T) {
	for name, tc := range map[string]struct {
		model  func() *memory
		second prefect.Answer
	}{
		"one API process":        {func() *memory { return newMemory() }, prefect.NotNow},
		"API replicas":           {func() *memory { return newMemory().replicated() }, prefect.Won},
		"an API that arbitrates": {func() *memory { return newMemory().arbitrating() }, prefect.Lost},
	} {
		t.Run(name, func(t *testing.T) {
			backendtest.Run(t, tc.second, func(t *testing.T) backendtest.World { return &modelled{memory: tc.model(), t: t} })
		})
	}
}

// The contract is about all that launchers ask, and about nothing else.
var (
	_ Backend             = backendtest.Backend(nil)
	_ backendtest.Backend = Backend(nil)
)

// modelled is the model as the contract's tests have it.
type modelled struct {
	*memory
	t     *testing.T
	tasks int
}

// Backend is the model as launchers in the interleavings see it.
func (w *modelled) Backend() backendtest.Backend { return &eyes{memory: w.memory} }

func (w *modelled) Here() (at prefect.Place, served prefect.Scope) { return at, served }

func (w *modelled) Elsewhere() (prefect.Place, prefect.Scope) {
	return prefect.Place{Labels: []string{"gpu"}}, prefect.Scope{Labels: []string{"gpu", "k8s"}}
}

func (w *modelled) Schedule(due time.Time, at prefect.Place) string {
	r := run(fmt.Sprint("run-", len(w.runs))).due(due)
	r.Place = at
	w.set(r)
	return r.ID
}

func (w *modelled) Retry(id string, due ...time.Time) {
	r := w.get(id)
	for _, at := range due {
		w.tasks++
		r = withTasks(r, append(slices.Clone(tasksOf(r)), recipe.Task{ID: fmt.Sprint("task-", w.tasks), Version: 4, State: prefect.State{Phase: prefect.Waiting, Name: "Retrying", StartTime: at}}))
	}
	w.set(&runBuilder{r})
}

func (w *modelled) Set(id string, to prefect.Phase) {
	state := inState(map[prefect.Phase]string{
		prefect.Waiting: "Scheduled", prefect.Held: "Paused", prefect.Running: "Running",
		prefect.Cancelling: "Cancelling", prefect.Cancelled: "Cancelled", prefect.Finished: "Success",
	}[to])
	if err := w.setState(w.t.Context(), "person", id, state); err != nil {
		w.t.Fatal(err)
	}
}

func (w *modelled) Beat(id string) {
	r := w.get(id)
	r.Heartbeat = time.Now()
	w.set(&runBuilder{r})
}

func (w *modelled) Delete(id string) { delete(w.runs, id) }

func (w *modelled) Break(f backendtest.Fault) {
	w.fault = func(_, _ string, written bool) error {
		switch {
		case f == backendtest.LoseRequest && !written:
			return errors.New("connection refused")
		case f == backendtest.LoseAnswer && written:
			return errLost
		case f == backendtest.RefuseKey && !written:
			return prefect.ErrAuth
		case f == backendtest.LeaveAlone && !written:
			return throttled(time.Minute)
		}
		return nil
	}
}

func (w *modelled) Logged(id string) (lines []string) {
	for _, e := range w.logs {
		if e.FlowRunID == id {
			lines = append(lines, fmt.Sprintf("%s %s: %s", e.Level, e.Name, e.Message))
		}
	}
	return lines
}
