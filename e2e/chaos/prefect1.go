package chaos

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// Prefect1 is a Prefect Server 1.x with several API processes.
type Prefect1 struct {
	clock
	t    testing.TB
	api  *prefecttest.API
	flow string
	dir  string
	mu   sync.Mutex
}

// NewPrefect1 is one without runs. runConfig is that of the runs; nil leaves their Jobs to the
// launchers' template.
func NewPrefect1(t testing.TB, runConfig any) *Prefect1 {
	w := &Prefect1{t: t, dir: t.TempDir()}
	w.api = prefecttest.New(prefecttest.Options{Replicas: 2, Now: w.now})
	w.flow = w.api.CreateFlow(prefecttest.FlowSpec{Name: "chaos", Tasks: []string{"task"}, RunConfig: runConfig})
	return w
}

// Start implements World.
func (w *Prefect1) Start() string { return w.api.Start(w.t) }

// Label implements World.
func (w *Prefect1) Label() string { return kubernetesrun.LabelFlowRunID }

// Metadata implements World.
func (w *Prefect1) Metadata() map[string]string {
	return map[string]string{"runsPerLauncher": strconv.Itoa(runsPerLauncher)}
}

// Settings implements World.
func (w *Prefect1) Settings(url string, template int) []string {
	return []string{"PREFECT__BACKEND=server", "PREFECT__CLOUD__API=" + url, "JOB_TEMPLATE=" + w.template(template)}
}

// Change implements World: launchers have files of their own.
func (w *Prefect1) Change(int) {}

func (w *Prefect1) template(n int) string {
	path := filepath.Join(w.dir, fmt.Sprintf("template-%d.yaml", n))
	text := fmt.Sprintf(`apiVersion: batch/v1
kind: Job
metadata:
  name: chaos-%d
spec:
  backoffLimit: 0
  template:
    spec:
      schedulerName: nobody
      containers:
        - name: flow
`, n)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Error(err)
	}
	return path
}

// Create implements World.
func (w *Prefect1) Create(_ Sort, in time.Duration) string {
	return w.api.CreateRuns(prefecttest.Order{FlowID: w.flow, In: prefecttest.Duration(in)})[0]
}

// Cancel implements World.
func (w *Prefect1) Cancel(id string) { w.api.Cancel(id) }

func (w *Prefect1) set(id, state string, more map[string]any) {
	if err := w.api.SetState(id, stateOf(state, more)); err != nil {
		w.t.Error(err)
	}
}

func (w *Prefect1) setTask(id, state string, more map[string]any) {
	if err := w.api.SetTaskState(w.api.Runs(id)[0].TaskRuns[0].ID, stateOf(state, more)); err != nil {
		w.t.Error(err)
	}
}

func stateOf(name string, more map[string]any) map[string]any {
	fields := map[string]any{"type": name}
	maps.Copy(fields, more)
	return fields
}

// Begin implements World. The client leaves a run alone that has ended or is being cancelled
// (prefect1 §8).
func (w *Prefect1) Begin(id string) (whyNot string, wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch state := w.api.Runs(id)[0].State; {
	case prefecttest.IsFinished(state), state == "Cancelling":
		return "it is " + state, 0
	case state != "Running":
		w.set(id, "Running", nil)
	}
	w.setTask(id, "Running", nil)
	w.api.SetHeartbeat(id, w.now())
	return "", 0
}

// End implements World.
func (w *Prefect1) End(id string, s Sort, n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch state := w.api.Runs(id)[0].State; {
	case state == "Cancelling":
		w.set(id, "Cancelled", nil)
	case prefecttest.IsFinished(state):
	case s == Retried && n == 1:
		w.setTask(id, "Retrying", map[string]any{"start_time": w.now().Add(2 * time.Second).UTC().Format(time.RFC3339Nano)})
	case s == Restarted && n == 1:
		w.setTask(id, "Failed", nil)
		w.set(id, "Failed", nil)
		return false
	default:
		w.setTask(id, "Success", nil)
		w.set(id, "Success", nil)
	}
	return true
}

// Restart implements World.
func (w *Prefect1) Restart(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setTask(id, "Pending", nil)
	w.set(id, "Scheduled", map[string]any{"start_time": w.now().UTC().Format(time.RFC3339Nano)})
}

// Look implements World.
func (w *Prefect1) Look() map[string]Run {
	all := map[string]Run{}
	for _, r := range w.api.Runs() {
		run := Run{State: r.State, Ended: prefecttest.IsFinished(r.State), Cancelled: r.State == "Cancelled"}
		for _, c := range r.History {
			run.History = append(run.History, fmt.Sprintf("%s v%d %s: %s", c.At.Format(moment), c.Version, c.Type, c.Message))
		}
		for _, l := range r.Logs {
			run.History = append(run.History, fmt.Sprintf("%s log: %s", l.At.Format(moment), l.Message))
		}
		all[r.ID] = run
	}
	return all
}
