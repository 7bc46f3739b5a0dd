package launcher

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/kubernetes/fake"
)

func TestIdleLauncherLeaves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, newMemory())
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if took := time.Since(b.began); took != time.Minute {
			t.Errorf("left after %s, want the idle timeout of 1m", took)
		}
		if got := b.m.count("announce"); got != 1 && got != 2 {
			t.Errorf("announced %d times in a minute, want at the start and once a minute", got)
		}
		if !strings.Contains(b.logs.String(), `reason=idle`) {
			t.Errorf("the last line does not say why it left:\n%s", b.logs)
		}
	})
}

func TestLauncherStaysWhileSomethingIsDue(t *testing.T) {
	for name, runs := range map[string][]*runBuilder{
		"ahead":                       {run("r").due(time.Date(2000, 1, 1, 0, 0, 59, 0, time.UTC))},
		"claimed, its pod yet to run": {run("r")},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := start(t, newMemory(runs...))
				if err := b.leave(); err != nil {
					t.Error(err)
				}
				if len(b.jobs()) != 1 {
					t.Errorf("%d Jobs, want 1\n%s", len(b.jobs()), b.logs)
				}
			})
		})
	}
}

func TestMaxPolls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("now"), run("soon").due(time.Now().Add(9*time.Second)))
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.MaxPolls = 3 })
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if m.count("due") != 3 {
			t.Errorf("asked %d times, want 3", m.count("due"))
		}
		if diff := cmp.Diff(map[string]int{"now": 1, "soon": 1}, jobsByRun(t, b.client)); diff != "" {
			t.Errorf("Jobs by run (-want +got):\n%s", diff)
		}
	})
}
