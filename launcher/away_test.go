package launcher

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// Runs whose own template cannot be read wait for a while and then fail, with words
// for their authors: there may be more of them than Cloud's queue hands out at once.
func TestRunsWhoseTemplateIsAwayFailAfterAWhile(t *testing.T) {
	for name, queue := range map[string]int{"Server": 0, "Cloud": 25} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m, began := newMemory(), time.Now()
				m.queue = queue
				for i := range 30 {
					r := run(fmt.Sprintf("r%02d", i)).due(began.Add(-time.Hour))
					r.runConfig("away since " + began.Format(time.RFC3339))
					m.set(r)
				}
				retry := run("retry").retrying("t", 4, began.Add(-time.Hour))
				retry.runConfig("away since " + began.Format(time.RFC3339))
				m.set(retry)
				m.set(run("younger").due(began.Add(-time.Minute)))
				b := start(t, m, func(o *Options, _ *fake.Clientset) { o.RetryFor = 5 * time.Minute })
				time.Sleep(5*time.Minute - time.Second)
				synctest.Wait()
				if n := m.count("fail"); n > 0 {
					t.Errorf("%d runs failed though they may wait for longer", n)
				}
				time.Sleep(2*maxBackoff + 5*time.Second)
				synctest.Wait()
				if diff := cmp.Diff(map[string]int{"younger": 1}, jobsByRun(t, b.client)); diff != "" {
					t.Errorf("Jobs by run (-want +got):\n%s", diff)
				}
				for _, id := range []string{"r00", "r29", "retry"} {
					const want = "The job template of this run cannot be read for more than 5m0s: its server does not answer"
					if s := m.get(id).State; s.Name != "Failed" || !strings.HasPrefix(s.Message, want) || !strings.Contains(strings.Join(m.linesOf(id), ""), want) {
						t.Errorf("run %s: %+v, lines %q", id, s, m.linesOf(id))
					}
				}
				if n := m.count("fail"); n != 31 {
					t.Errorf("%d runs failed, want 31", n)
				}
				b.stop()
			})
		})
	}
}

func TestAwayForLong(t *testing.T) {
	l, _ := alone(newMemory())
	now := time.Now()
	long, short := now.Add(-l.RetryFor), now.Add(-l.RetryFor+time.Minute)
	away := func(since time.Time) error {
		return fmt.Errorf("read it: %w", &job.AwayError{Since: since, Err: errors.New("503")})
	}
	for name, tc := range map[string]struct {
		run  *runBuilder
		err  error
		want bool
	}{
		"both for long":                    {run("r").due(long), away(long), true},
		"the server for a shorter time":    {run("r").due(long), away(short), false},
		"due for a shorter time":           {run("r").due(short), away(long), false},
		"scheduled again a short time ago": {&runBuilder{prefect.FlowRun{State: run("r").due(long).State, StateAt: short}}, away(long), false},
		"something else":                   {run("r").due(long), errors.New("Prefect does not tell its tenant"), false},
	} {
		if got := l.isAwayForLong(tc.run.FlowRun, tc.err); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}
