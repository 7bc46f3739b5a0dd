package chaos

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/job/workpool"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

// Prefect3 is a Prefect 3 server with one work pool.
type Prefect3 struct {
	clock
	t   testing.TB
	api *fake.API
	// template is the pool's base job template.
	template func(name string) any
}

const pool = "chaos"

// NewPrefect3 is one without runs. template is a base job template whose Jobs have that name,
// and whose pods no scheduler takes.
func NewPrefect3(t testing.TB, template func(name string) any) *Prefect3 {
	w := &Prefect3{t: t, template: template}
	w.api = fake.New(fake.Options{Now: w.now})
	w.Change(1)
	return w
}

// Start implements World.
func (w *Prefect3) Start() string { return w.api.Start(w.t) }

// Label implements World.
func (w *Prefect3) Label() string { return workpool.LabelFlowRunID }

// Metadata implements World.
func (w *Prefect3) Metadata() map[string]string {
	return map[string]string{"workPools": pool, "runsPerLauncher": strconv.Itoa(runsPerLauncher)}
}

// Settings implements World.
func (w *Prefect3) Settings(url string, _ int) []string {
	return []string{"PREFECT_API_URL=" + url, "PREFECT_KEDA_WORK_POOLS=" + pool}
}

// Change implements World: the server has the template.
func (w *Prefect3) Change(n int) {
	w.api.CreatePool(fake.Pool{Name: pool, Template: w.template(fmt.Sprintf("chaos-%d", n))})
}

// Create implements World.
func (w *Prefect3) Create(_ Sort, in time.Duration) string {
	return w.api.CreateRuns(fake.Order{Pool: pool, At: w.now().Add(in)})[0]
}

// Cancel implements World.
func (w *Prefect3) Cancel(id string) { w.api.Cancel(id) }

// Begin implements World. The server is asked, as by the client in a pod.
func (w *Prefect3) Begin(id string) (whyNot string, wait time.Duration) {
	out := w.api.Begin(id)
	switch out.Status {
	case "ACCEPT":
		return "", 0
	case "WAIT": // for whole seconds, so perhaps for none
		return out.Reason, max(out.Delay, 100*time.Millisecond)
	}
	return out.Status + ": " + out.Reason, 0
}

// End implements World.
func (w *Prefect3) End(id string, s Sort, n int) bool {
	switch kind := w.api.Runs(id)[0].Type; {
	case kind == "CANCELLING":
		w.api.End(id, "CANCELLED", "")
	case fake.IsFinished(kind):
	case s == Retried && n == 1:
		w.api.Reschedule(id)
	case s == Restarted && n == 1:
		w.api.End(id, "FAILED", "")
		return false
	default:
		w.api.End(id, "COMPLETED", "")
	}
	return true
}

// Restart implements World.
func (w *Prefect3) Restart(id string) { w.api.Retry(id) }

// Look implements World.
func (w *Prefect3) Look() map[string]Run {
	all := map[string]Run{}
	for _, r := range w.api.Runs() {
		run := Run{State: r.State, Ended: fake.IsFinished(r.Type), Cancelled: r.Type == "CANCELLED"}
		for _, c := range r.History {
			run.History = append(run.History, fmt.Sprintf("%s %s %s: %s", c.At.Format(moment), c.ID[:8], c.Name, c.Message))
		}
		for _, l := range w.api.Logs(r.ID) {
			run.History = append(run.History, fmt.Sprintf("%s log: %s", l.At.Format(moment), l.Message))
		}
		all[r.ID] = run
	}
	return all
}
