package scaler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// fakeOperator is an operator that keeps what it is told.
type fakeOperator struct {
	mu   sync.Mutex
	told []string
	pods string // what the launcher's are at
	err  error
	asks int
}

func (l *fakeOperator) Warn(namespace, name, reason, message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, fmt.Sprintf("%s/%s %s: %s", namespace, name, reason, message))
}

func (l *fakeOperator) Launcher(context.Context, string, string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asks++
	return l.pods, l.err
}

// of are those told of a reason, in order.
func (l *fakeOperator) of(reason string) (some []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.told {
		if strings.Contains(t, " "+reason+": ") {
			some = append(some, t)
		}
	}
	return some
}

// A launcher that does not come up is told of once, with what its pods are at, is on
// the page and in the metrics for as long as it does not, and is no news any more when
// it has taken a run, though others stay due.
func TestLauncherThatDoesNotComeUp(t *testing.T) {
	f, l := &fakeSource{}, &fakeOperator{pods: "pod etl-1 waits: ContainerCreating"}
	o := bubbleOptions(f)
	o.Operator = l
	registry := prometheus.NewPedanticRegistry()
	o.Registerer = registry
	gauges := func(runs, seconds int) string {
		return fmt.Sprintf(`
# HELP prefect_keda_scaler_runs_untaken Due runs, if no launcher has taken any for more than a minute since the ScaledObject became active: the launcher does not come up, or takes no runs.
# TYPE prefect_keda_scaler_runs_untaken gauge
prefect_keda_scaler_runs_untaken{scaled_object="flows/etl"} %d
# HELP prefect_keda_scaler_runs_untaken_seconds How long no launcher has taken any of them; 0 if there are none.
# TYPE prefect_keda_scaler_runs_untaken_seconds gauge
prefect_keda_scaler_runs_untaken_seconds{scaled_object="flows/etl"} %d
`, runs, seconds)
	}
	measured := func(want string) {
		t.Helper()
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "prefect_keda_scaler_runs_untaken", "prefect_keda_scaler_runs_untaken_seconds"); err != nil {
			t.Error(err)
		}
	}
	log := logged(t, o, func(t *testing.T, s *Server) {
		f.set(run("r1", time.Now().Add(-time.Hour), "etl"), run("r2", time.Now(), "etl"))
		pass(2 * time.Second)
		wantActive(t, s, true, "labels=etl")
		pass(50 * time.Second)
		if got := l.of(eventUntaken); got != nil {
			t.Errorf("told within a minute: %q", got)
		}
		measured(gauges(0, 0))
		pass(20 * time.Second)
		says := "2 runs are due and no launcher has taken any for 1m10s: pod etl-1 waits: ContainerCreating"
		if got := s.service.report(time.Now()).ScaledObjects[0].Untaken; got != says {
			t.Errorf("the report says %q", got)
		}
		if page := pageOf(t, s); !strings.Contains(page, says) {
			t.Errorf("the page does not say %q:\n%s", says, page)
		}
		measured(gauges(2, 70))
		pass(9 * time.Minute)
		if got := l.of(eventUntaken); len(got) != 1 || !strings.HasPrefix(got[0], "flows/etl PrefectLauncherMissing: 2 runs are due and no launcher has taken any for 1m") {
			t.Errorf("told %q", got)
		}
		if l.asks != 9 {
			t.Errorf("the pods are looked at %d times in 10 minutes, want 9", l.asks)
		}
		wantActive(t, s, true, "labels=etl")

		f.set(run("r2", time.Now(), "etl")) // r1 was taken
		pass(10 * time.Second)
		measured(gauges(0, 0))
		if got := s.service.report(time.Now()).ScaledObjects[0].Untaken; got != "" {
			t.Errorf("after a run was taken: %s", got)
		}
	})
	for says, times := range map[string]int{
		`level=WARN msg="runs are due and no launcher takes them" connection=default scaled_object=flows/etl count=2`: 1,
		`level=INFO msg="launchers take runs again, or no run is due any more"`:                                       1,
	} {
		if n := strings.Count(log, says); n != times {
			t.Errorf("said %d times: %s\n%s", n, says, log)
		}
	}
}

// What proves that a launcher works, and what does not.
func TestWhatALauncherTakes(t *testing.T) {
	hour := func(i int) time.Time { return time.Now().Add(-time.Hour + time.Duration(i)*time.Second) }
	for name, tc := range map[string]struct {
		change func(f *fakeSource)
		told   bool
	}{
		"nothing":               {func(*fakeSource) {}, true},
		"another run falls due": {func(f *fakeSource) { f.due = append(f.due, run("new", time.Now(), "etl")) }, true},
		"a run is due no more":  {func(f *fakeSource) { f.due = f.due[1:] }, false},
		"a claim":               {func(f *fakeSource) { f.claim = append(f.claim, claimed("c", "job-c", "v1")) }, false},
		"a claim of other labels": {func(f *fakeSource) {
			f.claim = append(f.claim, claimed("c", "job-c", "v1"))
			f.claim[1].Place.Labels = []string{"gpu"}
		}, true},
		"a run with other labels": {func(f *fakeSource) { f.due = f.due[:2] }, true},
		"a look that is cut off":  {func(f *fakeSource) { f.due, f.trunc = f.due[1:], true }, true},
		"a look that fails":       {func(f *fakeSource) { f.err = errors.New("502") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			f, l := &fakeSource{claim: []prefect.ClaimedRun{claimed("old", "job-old", "v1")}}, &fakeOperator{}
			o := bubbleOptions(f)
			o.Operator = l
			inBubble(t, o, func(t *testing.T, s *Server) {
				f.set(run("r1", hour(1), "etl"), run("r2", hour(2), "etl"), run("r3", hour(3), "gpu"))
				pass(2 * time.Second)
				wantActive(t, s, true, "labels=etl")
				pass(30 * time.Second)
				f.change(tc.change)
				pass(40 * time.Second)
				if got := l.of(eventUntaken); (len(got) > 0) != tc.told {
					t.Errorf("told %q", got)
				}
			})
		})
	}
}

// Who is not active waits for its threshold, and not for a launcher; nor does a run
// wait whose time has only just come, or that is not due yet.
func TestNobodyIsMissedWhoIsNotCalled(t *testing.T) {
	f, l := &fakeSource{}, &fakeOperator{}
	o := bubbleOptions(f)
	o.Operator = l
	inBubble(t, o, func(t *testing.T, s *Server) {
		f.set(run("r1", time.Now(), "etl"))
		for range 60 {
			pass(5 * time.Second)
			wantActive(t, s, false, "labels=etl", "activationThreshold=1")
			f.change(func(f *fakeSource) { f.due = append(f.due[:1:1], run("ahead", time.Now().Add(8*time.Second), "warm")) })
			pass(2 * time.Second)
			wantActive(t, s, true, "labels=warm")
		}
		if l.told != nil {
			t.Errorf("told %q", l.told)
		}
	})
}

// Without a word about the pods, the command that shows them is told.
func TestAbsenceNamesACommand(t *testing.T) {
	f, l := &fakeSource{}, &fakeOperator{err: errors.New("forbidden")}
	o := bubbleOptions(f)
	o.Operator = l
	inBubble(t, o, func(t *testing.T, s *Server) {
		f.set(run("r1", time.Now().Add(-time.Hour)))
		pass(2 * time.Second)
		wantActive(t, s, true)
		pass(70 * time.Second)
		if len(l.told) != 1 || !strings.HasPrefix(l.told[0], "flows/etl PrefectLauncherMissing: 1 run is due and no") || !strings.HasSuffix(l.told[0], ": see its pods: kubectl -n flows get pods") {
			t.Errorf("told %q", l.told)
		}
	})
}

// Runs are left undone also where KEDA does not ask any more: of a ScaledObject that is
// paused, or refused by now.
func TestRunsAreUntakenThoughKEDADoesNotAsk(t *testing.T) {
	f, l := &fakeSource{}, &fakeOperator{pods: "it has no pod"}
	o := bubbleOptions(f)
	o.Operator = l
	log := logged(t, o, func(t *testing.T, s *Server) {
		pass(time.Second)
		wantActive(t, s, false, "labels=etl") // the last time that KEDA asks
		f.set(run("r1", time.Now(), "etl"))
		pass(2 * time.Minute)
	})
	if told := l.of(eventUntaken); len(told) != 1 || !strings.Contains(log, "runs are due and no launcher takes them") {
		t.Errorf("told %q; the log:\n%s", told, log)
	}
}
