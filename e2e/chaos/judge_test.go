package chaos

import (
	"testing"
	"time"
)

// still is a world in which nothing happens any more.
type still struct {
	World
	runs map[string]Run
}

func (w still) Look() map[string]Run { return w.runs }

func (still) Label() string { return "run" }

// What is not in order afterwards is said, and nothing else.
func TestJudge(t *testing.T) {
	ended, cancelled := Run{State: "Success", Ended: true}, Run{State: "Cancelled", Ended: true, Cancelled: true}
	for name, tc := range map[string]struct {
		sort        Sort
		run         *Run
		jobs, begun int
		wrong       []string
		want        string
	}{
		"launched once":                 {AdHoc, &ended, 1, 1, nil, ""},
		"not launched":                  {AdHoc, &Run{State: "Scheduled"}, 0, 0, nil, "flow run r (ad hoc) is Scheduled: it has not ended"},
		"ended without a Job":           {Scheduled, &ended, 0, 0, nil, "flow run r (scheduled) is Success: 0 Jobs and 0 pods that began, want 1"},
		"launched twice":                {AdHoc, &ended, 2, 1, nil, "flow run r (ad hoc) is Success: 2 Jobs and 1 pods that began, want 1"},
		"retried in one Job":            {Retried, &ended, 1, 2, nil, "flow run r (retried) is Success: 1 Jobs and 2 pods that began, want 2"},
		"restarted":                     {Restarted, &ended, 2, 2, nil, ""},
		"lost":                          {AdHoc, nil, 1, 1, nil, "flow run r (ad hoc) is : Prefect has lost it"},
		"cancelled before its Job":      {Cancelled, &cancelled, 0, 0, nil, ""},
		"cancelled too late":            {Cancelled, &ended, 1, 1, nil, ""},
		"cancelled, and launched twice": {Cancelled, &cancelled, 2, 1, nil, "flow run r (cancelled) is Cancelled: 2 Jobs and 1 pods, want at most one"},
		"cancelled by nobody":           {AdHoc, &cancelled, 1, 1, nil, "flow run r (ad hoc) is Cancelled: it is Cancelled, and nobody cancelled it"},
		"two pods at once":              {AdHoc, &ended, 1, 1, []string{"two pods execute it at once"}, "flow run r (ad hoc) is Success: two pods execute it at once"},
	} {
		runs := map[string]Run{}
		if tc.run != nil {
			runs["r"] = *tc.run
		}
		w := still{runs: runs}
		l := NewLedger(nil, "flows", w, NewPlan(1))
		l.sorts["r"] = tc.sort
		l.pods.jobs["r"], l.pods.begun["r"] = make([]string, tc.jobs), tc.begun
		if tc.wrong != nil {
			l.pods.wrong["r"] = tc.wrong
		}
		if got := l.Open()["r"]; got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
		l.pods.wrong["stranger"] = []string{"a Job for a run that nobody made"}
		if got := l.Open()["stranger"]; got != "flow run stranger: a Job for a run that nobody made" {
			t.Errorf("%s: of a run that nobody made: %q", name, got)
		}
	}
}

// KEDA's part: launchers come at once, and leave after the cooldown.
func TestScale(t *testing.T) {
	launchers := make([]*Process, 3)
	for i := range launchers {
		launchers[i] = NewProcess("launcher", "", nil)
	}
	k := &keda{target: 40, launchers: launchers, cooldown: time.Hour}
	wanted := func() (n int) {
		for _, l := range launchers {
			if l.wanted {
				n++
			}
		}
		return n
	}
	for _, step := range []struct {
		value int64
		want  int
		idle  bool
	}{{0, 0, false}, {1, 1, false}, {40, 1, false}, {41, 2, false}, {1000, 3, false}, {0, 3, false}} {
		if k.scale(step.value); wanted() != step.want || k.idle() != step.idle {
			t.Errorf("after %d: %d launchers, idle %t; want %d, %t", step.value, wanted(), k.idle(), step.want, step.idle)
		}
	}
	k.cooldown = 0
	if k.scale(0); wanted() != 0 || !k.idle() {
		t.Errorf("after the cooldown: %d launchers, idle %t", wanted(), k.idle())
	}
}
