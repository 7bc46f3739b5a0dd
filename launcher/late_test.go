package launcher

import (
	"context"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// latelyClaimed is a run that got so far with another launcher's claim before ours
// was applied.
func latelyClaimed(reached ...prefect.StateType) *memory {
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
	m.set(submitted(version+1, ours("v1")).since(time.Now().Add(-rivalsSettle)))
	return m
}

// since says when the run's state was written.
func (b *runBuilder) since(at time.Time) *runBuilder { b.StateAt = at; return b }

// Whoever meets a claim that came late puts back what it overwrote, and makes
// nothing of the claim: no Job, no failure.
func TestClaimThatCameLateIsUndone(t *testing.T) {
	review := func() *errand {
		return &errand{Action: Action{Kind: Review, Run: submitted(2, ours("v1")).FlowRun}}
	}
	for _, tc := range []struct {
		name    string
		reached []prefect.StateType
		late    bool
	}{
		{"it had not begun", nil, false},
		{"it had ended", []prefect.StateType{prefect.Running, prefect.Success}, true},
		{"it had failed", []prefect.StateType{prefect.Failed}, true},
		{"it was cancelled", []prefect.StateType{prefect.Cancelled}, true},
		{"its pod had begun and is gone", []prefect.StateType{prefect.Running}, true},
		{"it was started again", []prefect.StateType{prefect.Running, prefect.Failed, prefect.Scheduled}, true},
		{"it was paused since", []prefect.StateType{prefect.Paused}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				failing := inHand(confirmedFor + time.Second)
				failing.failure = "no such image"
				for name, e := range map[string]*errand{
					"review": review(), "repair": repairOf(ours("v1")),
					"to create": inHand(confirmedFor + time.Second), "to fail": failing,
				} {
					m := latelyClaimed(tc.reached...)
					before := len(m.past["r"])
					l, world := alone(m)
					o := l.perform(t.Context(), e)
					now := m.get("r").State
					switch {
					case !tc.late && o.result == restored:
						t.Errorf("%s: %s, wrote %q", name, o.result, m.writes)
					case name == "review" && !tc.late && (o.result != ignored || len(m.writes) > 0 || !o.hold.After(time.Now())):
						t.Errorf("%s: %s until %s, wrote %q", name, o.result, o.hold, m.writes)
					case tc.late && (o.result != restored || len(m.past["r"]) != before+1 || now.Type != tc.reached[len(tc.reached)-1] || now.Message != "as it was"):
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
		{"it has ended", func(m *memory, _ *store) { m.set(run("r").in(prefect.Success).version(6)) }, ignored},
		{"another cluster claimed it", func(m *memory, _ *store) { m.set(submitted(6, elsewhere)) }, ignored},
		{"it was claimed for another attempt", func(m *memory, _ *store) { m.set(submitted(6, ours("v5"))) }, ignored},
		{"it is gone", func(m *memory, _ *store) { delete(m.runs, "r") }, overtaken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := latelyClaimed(prefect.Running, prefect.Success)
				l, world := alone(m)
				tc.what(m, world.store)
				e := &errand{Action: Action{Kind: Review, Run: submitted(5, ours("v1")).FlowRun}}
				if o := l.perform(t.Context(), e); o.result != tc.want || len(m.writes) > 0 != (tc.want == restored) {
					t.Errorf("%s (%v), wrote %q, want %s", o.result, o.err, m.writes, tc.want)
				}
			})
		})
	}
}

// unlisted Jobs cannot be listed.
type unlisted struct{ *meanwhile }

func (unlisted) list(context.Context, string) (Presence, error) { return Presence{}, errLost }

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
		{"long due", func(s *prefect.State, _ *meanwhile) { s.StartTime = ago(time.Hour) }, rivalsSettle, restored, handBackDelay},
		{"due whenever", func(s *prefect.State, _ *meanwhile) { s.StartTime = time.Time{} }, rivalsSettle, restored, handBackDelay},
		{"due later", func(*prefect.State, *meanwhile) {}, rivalsSettle, restored, time.Hour},
		{"others may be at it", func(*prefect.State, *meanwhile) {}, 10 * time.Second, later, rivalsSettle - 10*time.Second},
		{"its Job may take the run", func(_ *prefect.State, w *meanwhile) { _ = w.store.create(jobOfRun("r")) }, rivalsSettle, later, reviewAgain},
		{
			"a pod of it lives",
			func(_ *prefect.State, w *meanwhile) {
				w.store.pods = []*corev1.Pod{podOf("r", corev1.PodStatus{Phase: corev1.PodRunning})}
			},
			rivalsSettle, later, reviewAgain,
		},
		{"Jobs cannot be listed", func(*prefect.State, *meanwhile) {}, rivalsSettle, broken, notNow},
		{"it waits for a person", func(s *prefect.State, _ *meanwhile) { s.Type, s.StartTime = prefect.Paused, time.Time{} }, rivalsSettle, restored, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(run("r"))
				l, world := alone(m)
				again := run("r").in(prefect.Scheduled)
				tc.change(&again.State, world)
				if tc.want == broken {
					l.jobs = unlisted{world}
				}
				m.set(again)
				m.set(submitted(4, ours("v1")).since(ago(tc.since)))
				o := l.perform(t.Context(), inHand(confirmedFor+time.Second))
				at := o.hold
				if now := m.get("r").State; tc.want == restored {
					at = now.StartTime
					if now.Type != again.State.Type {
						t.Errorf("the run is %s", now.Type)
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
		m := latelyClaimed(prefect.Running, prefect.Failed)
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
		for want, m := range map[string]*memory{restored: latelyClaimed(prefect.Running, prefect.Success), adopted: latelyClaimed()} {
			l, world := alone(m)
			_ = world.store.create(jobOfRun("r", complete))
			if o := l.perform(t.Context(), repairOf(ours("v1"))); o.result != want || len(m.writes) > 0 != (want == restored) {
				t.Errorf("%s (%v), wrote %q, want %s", o.result, o.err, m.writes, want)
			}
		}
	})
}

// What was read long ago is not put back: the run may have been started again.
func TestStateIsRestoredRightAfterItWasRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for took, want := range map[time.Duration]string{claimWithin - time.Second: restored, claimWithin + time.Second: broken} {
			m := latelyClaimed(prefect.Running, prefect.Success)
			l, world := alone(m)
			world.after["read"] = func() { time.Sleep(took) }
			o := l.perform(t.Context(), &errand{Action: Action{Kind: Review, Run: submitted(5, ours("v1")).FlowRun}})
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
		wrong.RunConfig = []byte("wrong")
		for _, tc := range []struct {
			run  *runBuilder
			took time.Duration
			want string
		}{
			{run("r"), claimWithin - time.Second, done},
			{run("r"), claimWithin + time.Second, restored},
			{wrong, fresh, failed},
			{wrong, fresh + time.Millisecond, restored}, // a state is set right after a read
		} {
			took, want := tc.took, tc.want
			m := newMemory(tc.run)
			l, world := alone(m)
			world.before["claim"] = func() {
				m.set(submitted(2, ours("v1")))
				m.set(run("r").in(prefect.Cancelled).version(3))
			}
			world.after["claim"] = func() { time.Sleep(took) }
			o := l.perform(t.Context(), &errand{Action: Action{Kind: Launch, Run: tc.run.readAt(time.Now()).FlowRun}})
			if o.result != want || len(world.store.created) > 0 != (want == done) {
				t.Errorf("after %s: %s, created %q, want %s", took, o.result, world.store.created, want)
			}
			if want == restored && m.get("r").State.Type != prefect.Cancelled {
				t.Errorf("the run is %s", m.get("r").State.Type)
			}
		}
	})
}

// titled renders with a template that has a name.
type titled string

func (n titled) Render(ctx context.Context, r prefect.FlowRun) (*batchv1.Job, error) {
	j, err := template{}.Render(ctx, r)
	if err == nil {
		j.Name, _ = job.Name(string(n), r.ID, r.Attempt(), 0)
	}
	return j, err
}

// claimNamed is a claim of an attempt with a Job named by a template of that name.
func claimNamed(prefix string, attempt prefect.Attempt) *prefect.Claim {
	c := ours(attempt)
	c.Job, _ = job.Name(prefix, "r", attempt, 0)
	return c
}

// A name that other launchers may not share is used only once the run shows that
// nobody has claimed another.
func TestClaimThatStuckNamesTheJob(t *testing.T) {
	inline := run("r")
	inline.RunConfig = []byte(`{"type":"KubernetesRun","job_template":{"metadata":{"name":"own"}}}`)
	for _, tc := range []struct {
		name     string
		renderer Renderer
		run      *runBuilder
		// other is claimed right after ours, or right before.
		other  string
		before bool
		want   string // prefix
		reads  int
	}{
		{"the default name", template{}, run("r"), "", false, "prefect-job", 0},
		{"an inline template's", titled("own"), inline, "", false, "own", 0},
		{"nobody else's claim", titled("a"), run("r"), "", false, "a", 1},
		{"another claim of the name", titled("a"), run("r"), "a", true, "a", 1},
		{"another name was claimed before", titled("a"), run("r"), "b", true, "", 1},
		{"another name was claimed since", titled("a"), run("r"), "b", false, "", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(tc.run).replicated()
				l, world := alone(m)
				l.renderer = tc.renderer
				rival := func() {
					if _, err := m.Claim(t.Context(), tc.run.FlowRun, *claimNamed(tc.other, "v1")); err != nil {
						t.Fatal(err)
					}
				}
				if tc.other != "" && tc.before {
					world.before["claim"] = rival
				} else if tc.other != "" {
					world.after["claim"] = rival
				}
				o := l.perform(t.Context(), &errand{Action: Action{Kind: Launch, Run: tc.run.readAt(time.Now()).FlowRun}})
				if reads := m.count("read"); reads != tc.reads {
					t.Errorf("read %d times, want %d", reads, tc.reads)
				}
				if tc.want != "" {
					expectName(t, o, world, tc.want, "v1")
					return
				}
				if wait := time.Until(o.hold); o.result != later || len(world.store.created) > 0 || wait <= createWithin {
					t.Fatalf("%s for %s, created %q; want to wait for the other", o.result, wait, world.store.created)
				}
				// By then one has made its Job, or never will.
				time.Sleep(time.Until(o.hold))
				stuck := m.get("r")
				repair := l.perform(t.Context(), &errand{Action: Action{Kind: Repair, Run: stuck}})
				expectName(t, repair, world, job.PrefixOf(stuck.Claim.Job), "v1")
			})
		})
	}
}

func expectName(t *testing.T, o outcome, world *meanwhile, prefix string, attempt prefect.Attempt) {
	t.Helper()
	want, identifier := job.Name(prefix, "r", attempt, 0)
	if j := world.store.jobs[want]; o.result != done || j == nil || j.Labels[job.LabelIdentifier] != identifier {
		t.Errorf("%s (%v), Jobs %v, want %s", o.result, o.err, world.store.jobs, want)
	}
}

// The claim that a repair was planned for may have been overwritten since.
func TestRepairNamesTheJobAsTheRunsClaimNow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(submitted(2, claimNamed("b", "v1")))
		l, world := alone(m)
		l.renderer = titled("c")
		expectName(t, l.perform(t.Context(), repairOf(claimNamed("a", "v1"))), world, "b", "v1")
	})
}

// Where nobody claimed a name for the attempt, the last claim's prefix is what all
// launchers know.
func TestJobIsNamedAsTheLastClaimWas(t *testing.T) {
	retry := run("r").version(3).retrying("t", 4, time.Time{})
	retry.LastClaim = claimNamed("b", "v1")
	agents := run("r").version(3).retrying("t", 4, time.Time{})
	adopting := claimNamed("b", "v1") // a Job of an earlier attempt
	adopting.Attempt = "v3"
	foreign := ours("v1")
	foreign.Job = "made-by-hand"
	for _, tc := range []struct {
		name   string
		e      *errand
		prefix string
		of     prefect.Attempt
	}{
		{"a retry's", &errand{Action: Action{Kind: Relaunch, Run: retry.FlowRun}}, "b", retry.Attempt()},
		{"a retry's whose run an agent submitted", &errand{Action: Action{Kind: Relaunch, Run: agents.FlowRun}}, "a", agents.Attempt()},
		{"in place of one that was adopted", &errand{Action: Action{Kind: Repair, Run: submitted(4, adopting).FlowRun}}, "b", "v3"},
		{"in place of one that is named otherwise", repairOf(foreign), "a", "v1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				tc.e.Run.ReadAt = time.Now()
				m := newMemory(&runBuilder{tc.e.Run})
				l, world := alone(m)
				l.renderer = titled("a")
				expectName(t, l.perform(t.Context(), tc.e), world, tc.prefix, tc.of)
			})
		})
	}
}

// A pod that failed after its run's end, or before its restart, fails no run that a
// late claim brought back. While a pod may yet take it, the claim counts.
func TestRunThatALateClaimBroughtBackIsNotFailed(t *testing.T) {
	for _, tc := range []struct {
		name    string
		reached prefect.StateType
		job     []func(*batchv1.Job)
		pod     func() corev1.PodStatus
		want    string
		end     prefect.StateType
	}{
		{"ended", prefect.Success, nil, oomKilled, restored, prefect.Success},
		{"running", prefect.Running, nil, oomKilled, failed, prefect.Failed},
		{"started again", prefect.Scheduled, []func(*batchv1.Job){givenUp}, oomKilled, restored, prefect.Scheduled},
		{"started again, its Job about to end", prefect.Scheduled, nil, oomKilled, later, prefect.Submitted},
		{"started again, its Job waits", prefect.Scheduled, nil, cannotPull, failed, prefect.Failed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := latelyClaimed(tc.reached)
				l, world := alone(m)
				pod := podOf("r", tc.pod())
				pod.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
				world.store.jobs["job-r"], world.store.pods = jobOfRun("r", tc.job...), []*corev1.Pod{pod}
				o := l.perform(t.Context(), &errand{Action: Action{Kind: Resolve, Run: run("r").FlowRun, Job: "job-r"}})
				if now := m.get("r").State.Type; o.result != tc.want || now != tc.end {
					t.Errorf("%s (%v), the run is %s after %q", o.result, o.err, now, m.writes)
				}
			})
		})
	}
}
