package launcher

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// A run whose pod was rejected is handed back by one of two launchers, and whatever
// becomes of them it is launched once more, with another Job or with the one it has if
// that may yet take it; who was stopped on the way takes nothing from its pod then.
func TestRunIsHandedBackOnceInEveryInterleaving(t *testing.T) {
	for faults := range 2 {
		t.Run(fmt.Sprint(faults, " faults"), func(t *testing.T) {
			t.Parallel()
			c, executions := &chooser{}, 0
			for more := true; more && !t.Failed(); more = c.next() {
				executions++
				synctest.Test(t, func(t *testing.T) { handBackInTurn(t, c, faults) })
			}
			t.Logf("%d executions", executions)
		})
	}
}

func handBackInTurn(t *testing.T, c *chooser, faults int) {
	m, st := newMemory(run("r").version(2).claimedBy("gone", "v1", "job-r", time.Now().Add(-time.Minute))).replicated(), emptyStore()
	st.jobs["job-r"], st.pods = jobOfRun("r"), []*corev1.Pod{podOf("r", rejected())}
	gates := make(chan *gate)
	var trace []string
	var actors sync.WaitGroup
	launcher := func(name string, gates chan *gate) (*Launcher, *eyes) {
		y := &eyes{memory: m, store: st, actor: name, gates: gates}
		return newLauncher(Options{Name: name, Namespace: "flows", DeleteFinished: true}.withDefaults(), y, template{}, y), y
	}
	for _, name := range []string{"A", "B"} {
		l, y := launcher(name, gates)
		actors.Go(func() { passOnce(t.Context(), l, y) })
	}
	w := walk{chooser: c, faults: faults, alike: true, gates: gates, trace: &trace, verdicts: []verdict{proceed, refuse, dieBefore, freezeBefore}}
	frozen := w.turn()
	third, y := launcher("C", nil)
	for range 4 {
		time.Sleep(leaseFor + time.Second)
		passOnce(t.Context(), third, y)
	}
	check := func(when string, state prefect.StateType) {
		t.Helper()
		r, want := m.get("r"), "r v3"
		if st.jobs["job-r"] != nil {
			want = "" // nobody came to stop it, so Kubernetes may make another pod of it
		}
		if created := strings.Join(st.created, ", "); r.State.Type != state || r.Returned != 1 || created != want {
			t.Errorf("%s the run is %s, was handed back %d times, and got the Jobs %q\n%s\n%s", when, r.State.Type, r.Returned, created,
				strings.Join(trace, "\n"), strings.Join(m.writes, "\n"))
		}
	}
	check("in the end", prefect.Submitted)
	_ = m.setState(t.Context(), "pod", "r", prefect.State{Type: prefect.Running}, func(r *prefect.FlowRun) { r.Returned = 1 })
	for _, g := range frozen {
		trace = append(trace, g.actor+" thaws")
		g.pass <- proceed
		for range 50 {
			synctest.Wait()
			select {
			case g := <-gates:
				trace = append(trace, g.actor+" "+g.op)
				g.pass <- proceed
			case <-time.After(time.Minute):
			}
		}
	}
	actors.Wait()
	check("after those who were frozen went on", prefect.Running)
}
