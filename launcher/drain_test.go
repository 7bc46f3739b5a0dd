package launcher

import (
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/claims"
)

func TestDrain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		m.slow(300 * time.Millisecond)
		for i := range 60 {
			m.set(run(fmt.Sprintf("due%02d", i)))
		}
		m.set(run("ahead").due(time.Now().Add(8 * time.Second)))
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.Concurrency = 4 })
		time.Sleep(2 * time.Second)
		began := time.Now()
		b.stop()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("draining took %s", took)
		}
		created := jobsByRun(t, b.client)
		if len(created) == 0 || len(created) == 60 {
			t.Fatalf("%d Jobs: the launcher was not stopped in the midst of it", len(created))
		}
		for id, r := range m.runs {
			want := "Scheduled"
			if created[id] == 1 {
				want = "Submitted"
			}
			if r.State.Name != want {
				t.Errorf("%s with %d Jobs is %s", id, created[id], r.State.Name)
			}
		}
		if got := len(m.logs); got != len(created) {
			t.Errorf("%d log lines for %d Jobs", got, len(created))
		}
	})
}

func TestDrainHandsBackWhatKubernetesWillNotTake(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("a"), run("b"))
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			refusing(client, func(string) error { return quota() })
		})
		time.Sleep(20 * time.Second)
		b.stop()
		for _, id := range []string{"a", "b"} {
			s := m.get(id).State
			if wait := time.Until(s.StartTime); s.Name != "Scheduled" || wait <= claims.CreateWithin || wait > claims.HandBackDelay {
				t.Errorf("%s: state %+v, due in %s; want Scheduled, and due once nobody creates a Job by the old claim", id, s, wait)
			}
		}
	})
}

func TestDrainIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r"))
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.DrainTimeout = 3 * time.Second
			refusing(client, func(string) error {
				m.slow(time.Hour) // from now on Prefect does not answer
				return apierrors.NewBadRequest("the run must be failed")
			})
		})
		time.Sleep(2 * time.Second)
		began := time.Now()
		b.stop()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("draining took %s, want the drain timeout of 3s", took)
		}
		if !strings.Contains(b.logs.String(), "left=1") {
			t.Errorf("the last line does not say that a claim was left:\n%s", b.logs)
		}
	})
}
