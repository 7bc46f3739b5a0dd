package launcher

import (
	"context"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// latelyClaimed is a run that got so far with another launcher's claim before ours
// was applied.
func latelyClaimed(reached ...string) *memory {
	m := newMemory(run("r"))
	other := ours("v1")
	other.Launcher = "other"
	m.set(submitted(2, other))
	version := 2
	for _, s := range reached {
		version++
		r := run("r").in(s).version(version)
		r.State.Message = "as it was"
		m.set(r)
	}
	m.set(submitted(version+1, ours("v1")).since(time.Now().Add(-claims.RivalsSettle)))
	return m
}

// Whoever meets a claim that came late puts back what it overwrote, and makes
// nothing of the claim: no Job, no failure.
func TestClaimThatCameLateIsUndone(t *testing.T) {
	of := func(a Action) func(*testing.T, *Launcher) outcome {
		return func(t *testing.T, l *Launcher) outcome { return carriedOut(t, l, a) }
	}
	for _, tc := range []struct {
		name    string
		reached []string
		late    bool
	}{
		{"it had not begun", nil, false},
		{"it had ended", []string{"Running", "Success"}, true},
		{"it had failed", []string{"Failed"}, true},
		{"it was cancelled", []string{"Cancelled"}, true},
		{"its pod had begun and is gone", []string{"Running"}, true},
		{"it was started again", []string{"Running", "Failed", "Scheduled"}, true},
		{"it was paused since", []string{"Paused"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				for name, carryOut := range map[string]func(*testing.T, *Launcher) outcome{
					"review": of(Action{Kind: Review, Run: submitted(2, ours("v1")).FlowRun}),
					"repair": of(repairOf(ours("v1"))),
					"to create": func(t *testing.T, l *Launcher) outcome {
						return inFlight(l, confirmedFor+time.Second).finish(t.Context())
					},
					"to fail": func(t *testing.T, l *Launcher) outcome {
						return failing(l, confirmedFor+time.Second, "no such image").finish(t.Context())
					},
				} {
					m := latelyClaimed(tc.reached...)
					before := len(m.past["r"])
					l, world := alone(m)
					o := carryOut(t, l)
					now := m.get("r").State
					switch {
					case !tc.late && o.result == restored:
						t.Errorf("%s: %s, wrote %q", name, o.result, m.writes)
					case name == "review" && !tc.late && (o.result != ignored || len(m.writes) > 0 || !o.backoff.After(time.Now())):
						t.Errorf("%s: %s until %s, wrote %q", name, o.result, o.backoff, m.writes)
					case tc.late && (o.result != restored || len(m.past["r"]) != before+1 || now.Name != tc.reached[len(tc.reached)-1] || now.Message != "as it was"):
						t.Errorf("%s: %s, wrote %q, the run is %+v", name, o.result, m.writes, now)
					}
					if (tc.late || name == "review") && len(world.store.created) > 0 {
						t.Errorf("%s: created %q", name, world.store.created)
					}
				}
			})
		})
	}
}

// A run that moved on, or whose pod lives, is not touched.
func TestReviewLeavesAloneWhatGoesOn(t *testing.T) {
	elsewhere := ours("v1")
	elsewhere.NamespaceUID = "there"
	for _, tc := range []struct {
		name string
		what func(*memory, *store)
		want string
	}{
		{"its Job has ended", func(_ *memory, s *store) { _ = s.create(jobOfRun("r", complete)) }, restored},
		{"its Job is another one by now", func(_ *memory, s *store) { _ = s.create(jobOfRun("r")) }, later},
		{
			"a pod of it lives",
			func(_ *memory, s *store) {
				s.pods = []*corev1.Pod{podOf("r", corev1.PodStatus{Phase: corev1.PodRunning})}
			},
			later,
		},
		{"it has ended", func(m *memory, _ *store) { m.set(run("r").in("Success").version(6)) }, ignored},
		{"another cluster claimed it", func(m *memory, _ *store) { m.set(submitted(6, elsewhere)) }, ignored},
		{"it was claimed for another attempt", func(m *memory, _ *store) { m.set(submitted(6, ours("v5"))) }, ignored},
		{"it is gone", func(m *memory, _ *store) { delete(m.runs, "r") }, overtaken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := latelyClaimed("Running", "Success")
				l, world := alone(m)
				tc.what(m, world.store)
				if o := carriedOut(t, l, Action{Kind: Review, Run: submitted(5, ours("v1")).FlowRun}); o.result != tc.want || len(m.writes) > 0 != (tc.want == restored) {
					t.Errorf("%s (%v), wrote %q, want %s", o.result, o.err, m.writes, tc.want)
				}
			})
		})
	}
}

// unlisted Jobs cannot be listed.
type unlisted struct{ *meanwhile }

func (unlisted) List(context.Context, string) (jobs.Presence, error) { return jobs.Presence{}, errLost }

// A restart that a late claim overwrote is put back once nobody makes anything of the
// claim any more and nothing of it goes on; and not due before all have put it back
// who read the same.
func TestRestartIsPutBackOnceNothingComesOfTheLateClaim(t *testing.T) {
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	for _, tc := range []struct {
		name   string
		change func(*prefect.State, *meanwhile)
		since  time.Duration
		want   string
		wait   time.Duration // until the run is due, or is looked at again
	}{
		{"long due", func(s *prefect.State, _ *meanwhile) { s.StartTime = ago(time.Hour) }, claims.RivalsSettle, restored, claims.HandBackDelay},
		{"due whenever", func(s *prefect.State, _ *meanwhile) { s.StartTime = time.Time{} }, claims.RivalsSettle, restored, claims.HandBackDelay},
		{"due later", func(*prefect.State, *meanwhile) {}, claims.RivalsSettle, restored, time.Hour},
		{"others may be at it", func(*prefect.State, *meanwhile) {}, 10 * time.Second, later, claims.RivalsSettle - 10*time.Second},
		{"its Job may take the run", func(_ *prefect.State, w *meanwhile) { _ = w.store.create(jobOfRun("r")) }, claims.RivalsSettle, later, claims.ReviewAgain},
		{
			"a pod of it lives",
			func(_ *prefect.State, w *meanwhile) {
				w.store.pods = []*corev1.Pod{podOf("r", corev1.PodStatus{Phase: corev1.PodRunning})}
			},
			claims.RivalsSettle, later, claims.ReviewAgain,
		},
		{"Jobs cannot be listed", func(*prefect.State, *meanwhile) {}, claims.RivalsSettle, broken, claims.NotNow},
		{"it waits for a person", func(s *prefect.State, _ *meanwhile) { *s = inState("Paused") }, claims.RivalsSettle, restored, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(run("r"))
				l, world := alone(m)
				again := run("r").in("Scheduled")
				tc.change(&again.State, world)
				if tc.want == broken {
					l.jobs = unlisted{world}
				}
				m.set(again)
				m.set(submitted(4, ours("v1")).since(ago(tc.since)))
				o := inFlight(l, confirmedFor+time.Second).finish(t.Context())
				at := o.backoff
				if now := m.get("r").State; tc.want == restored {
					at = now.StartTime
					if now.Name != again.State.Name {
						t.Errorf("the run is %s", now.Name)
					}
				}
				var want time.Time
				if tc.wait > 0 {
					want = time.Now().Add(tc.wait)
				}
				if o.result != tc.want || !at.Equal(want) || len(m.writes) > 0 != (tc.want == restored) || len(world.store.created) > 0 != (tc.name == "its Job may take the run") {
					t.Errorf("%s (%v), at %s, want %s at %s; wrote %q", o.result, o.err, at, tc.want, want, m.writes)
				}
			})
		})
	}
}

// The whole way: a late claim of the attempt before, whose Job has ended, is undone
// and the restart launched, as an attempt of its own.
func TestRestartOutlivesALateClaim(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := latelyClaimed("Running", "Failed")
		client := fake.NewClientset()
		add(t, client, jobOfRun("r", completed))
		again := run("r").version(5).due(time.Now())
		m.set(again)
		late := ours("v1")
		late.Launcher, late.NamespaceUID = "other", ""
		m.set(submitted(6, late).version(6).since(time.Now()))
		b := startWith(t, m, client, func(o *Options, _ *fake.Clientset) { o.IdleTimeout = reviewFor })
		time.Sleep(reviewFor)
		b.stop()
		if now := m.get("r"); now.Claim == nil || now.Claim.Attempt != "v7" || jobsByRun(t, client)["r"] != 2 {
			t.Errorf("%+v after %q, Jobs %v", now.Claim, m.writes, jobsByRun(t, client))
		}
	})
}

// A watch that has not told of the Job makes a repair of it, which finds it.
func TestRepairThatFindsTheJobEndedUndoesALateClaim(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for want, m := range map[string]*memory{restored: latelyClaimed("Running", "Success"), adopted: latelyClaimed()} {
			l, world := alone(m)
			_ = world.store.create(jobOfRun("r", complete))
			if o := carriedOut(t, l, repairOf(ours("v1"))); o.result != want || len(m.writes) > 0 != (want == restored) {
				t.Errorf("%s (%v), wrote %q, want %s", o.result, o.err, m.writes, want)
			}
		}
	})
}

// While its pod lives a run is not set Running again: the pod may end it at any moment, and
// may have since the run was read.
func TestRunIsNotSetRunningAgainAfterItsEnd(t *testing.T) {
	for _, tc := range []struct {
		name      string
		meanwhile func(*memory, *meanwhile)
		want, end string
	}{
		{"its pod is gone", func(*memory, *meanwhile) {}, restored, "Running"},
		{"its pod lives", func(_ *memory, w *meanwhile) {
			w.store.pods = []*corev1.Pod{podOf("r", corev1.PodStatus{Phase: corev1.PodRunning})}
		}, later, "Submitted"},
		{"its pod ends it", func(m *memory, w *meanwhile) {
			w.before["list"] = func() { m.set(run("r").in("Success").version(9)) }
		}, overtaken, "Success"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := latelyClaimed("Running")
				l, world := alone(m)
				tc.meanwhile(m, world)
				o := inFlight(l, confirmedFor+time.Second).finish(t.Context())
				if now := m.get("r").State.Name; o.result != tc.want || now != tc.end {
					t.Errorf("%s (%v), the run is %s after %q; want %s, %s", o.result, o.err, now, m.writes, tc.want, tc.end)
				}
			})
		})
	}
}

// What was read long ago is not put back: the run may have been started again.
func TestStateIsRestoredRightAfterItWasRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for took, want := range map[time.Duration]string{claims.SendWithin - time.Second: restored, claims.SendWithin + time.Second: broken} {
			m := latelyClaimed("Running", "Success")
			l, world := alone(m)
			world.after["read"] = func() { time.Sleep(took) }
			o := carriedOut(t, l, Action{Kind: Review, Run: submitted(5, ours("v1")).FlowRun})
			if o.result != want || len(m.writes) > 0 != (want == restored) {
				t.Errorf("after %s: %s, wrote %q, want %s", took, o.result, m.writes, want)
			}
		}
	})
}

// An answer that took long may be to a claim that came late, though it is ours.
func TestWonClaimThatTookLongIsReadBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wrong := run("r")
		wrong.runConfig("wrong")
		for _, tc := range []struct {
			run  *runBuilder
			took time.Duration
			want string
		}{
			{run("r"), claims.SendWithin - time.Second, done},
			{run("r"), claims.SendWithin + time.Second, restored},
			{wrong, claims.MaxAge, failed},
			{wrong, claims.MaxAge + time.Millisecond, restored}, // a state is set right after a read
		} {
			took, want := tc.took, tc.want
			m := newMemory(tc.run)
			l, world := alone(m)
			world.before["claim"] = func() {
				m.set(submitted(2, ours("v1")))
				m.set(run("r").in("Cancelled").version(3))
			}
			world.after["claim"] = func() { time.Sleep(took) }
			o := carriedOut(t, l, Action{Kind: Launch, Run: tc.run.readAt(time.Now()).FlowRun})
			if o.result != want || len(world.store.created) > 0 != (want == done) {
				t.Errorf("after %s: %s, created %q, want %s", took, o.result, world.store.created, want)
			}
			if want == restored && m.get("r").State.Name != "Cancelled" {
				t.Errorf("the run is %s", m.get("r").State.Name)
			}
		}
	})
}

// A pod that failed after its run's end, or before its restart, fails no run that a
// late claim brought back. While a pod may yet take it, the claim counts.
func TestRunThatALateClaimBroughtBackIsNotFailed(t *testing.T) {
	for _, tc := range []struct {
		name    string
		reached string
		job     []func(*batchv1.Job)
		pod     func() corev1.PodStatus
		want    string
		end     string
	}{
		{"ended", "Success", nil, oomKilled, restored, "Success"},
		{"running", "Running", nil, oomKilled, failed, "Failed"},
		{"started again", "Scheduled", []func(*batchv1.Job){givenUp}, oomKilled, restored, "Scheduled"},
		{"started again, its Job about to end", "Scheduled", nil, oomKilled, later, "Submitted"},
		{"started again, its Job waits", "Scheduled", nil, cannotPull, failed, "Failed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := latelyClaimed(tc.reached)
				l, world := alone(m)
				pod := podOf("r", tc.pod())
				pod.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
				world.store.jobs["job-r"], world.store.pods = jobOfRun("r", tc.job...), []*corev1.Pod{pod}
				o := carriedOut(t, l, Action{Kind: Resolve, Run: run("r").FlowRun, Job: "job-r"})
				if now := m.get("r").State.Name; o.result != tc.want || now != tc.end {
					t.Errorf("%s (%v), the run is %s after %q", o.result, o.err, now, m.writes)
				}
			})
		})
	}
}

// A run that its Job of before has begun is not put back in the queue when that Job ends,
// though a late claim made it look as if nobody had.
func TestRunThatItsJobOfBeforeHasBegunIsNotPutBack(t *testing.T) {
	for reached, want := range map[string]string{"Running": "Failed", "": "Scheduled"} {
		t.Run("reached "+reached, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(run("r"))
				claim := *ours("v1")
				claim.Job = "job-r"
				version := 2
				if reached != "" {
					other := claim
					other.Launcher = "other"
					m.set(submitted(2, &other))
					m.set(run("r").in(reached).version(3))
					version = 4
				}
				m.set(submitted(version, &claim).since(time.Now().Add(-claims.RivalsSettle)))
				l, world := alone(m)
				before := jobOfRun("r", givenUp)
				before.Labels[job.LabelAttempt] = "v0"
				pod := podOf("r", oomKilled())
				pod.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
				world.store.jobs["job-r"], world.store.pods = before, []*corev1.Pod{pod}
				o := carriedOut(t, l, Action{Kind: Resolve, Run: run("r").FlowRun, Job: "job-r"})
				if now := m.get("r").State.Name; now != want {
					t.Errorf("%s (%v), the run is %s after %q, want %s", o.result, o.err, now, m.writes, want)
				}
			})
		})
	}
}
