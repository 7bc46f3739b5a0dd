package launcher

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// decision is an action as the tables below spell it.
func decisions(actions []Action) []string {
	var d []string
	for _, a := range actions {
		text := a.Kind.String() + " " + a.Run.ID
		if a.Job != "" {
			text += " " + a.Job
		}
		d = append(d, text)
	}
	return d
}

func planOptions() Options {
	return Options{Name: "me", Namespace: "flows", Marks: kubernetesrun.Marks()}.withDefaults()
}

func TestPlan(t *testing.T) {
	ago := func(d time.Duration) time.Time { return noon.Add(-d) }
	ahead := noon.Add(4 * time.Second)
	active := func(name, attempt string) jobs.Job { return jobs.Job{Name: name, Attempt: attempt, CanTake: true} }
	ended := func(name, attempt string) jobs.Job { return jobs.Job{Name: name, Attempt: attempt} }
	over := ended // as far as the run goes
	paused := run("r").due(time.Time{})
	paused.State = inState("Paused")
	elsewhere := run("r").version(2).claimedBy("other", "v1", "j", ago(time.Hour))
	elsewhere.Claim.Namespace = "elsewhere"
	abroad := run("r").version(2).claimedBy("other", "v1", "j", ago(time.Hour))
	abroad.Claim.NamespaceUID = "there"
	marked := run("r").version(2).claimedBy("other", "v1", "j", ago(time.Minute))
	marked.Claim.NamespaceUID = "here"

	for _, tc := range []struct {
		name    string
		due     *runBuilder
		claimed *runBuilder
		jobs    []jobs.Job
		alive   bool
		world   func(*World)
		want    []string
		ahead   []string
	}{
		{name: "due", due: run("r").due(noon), want: []string{"launch r"}},
		{name: "due without a time", due: run("r"), want: []string{"launch r"}},
		{name: "paused for ever", due: paused},
		{name: "not ours by its labels", due: run("r").due(noon).labels("gpu")},
		{name: "ahead", due: run("r").due(ahead), ahead: []string{"launch r"}},
		{name: "comes back while its Job waits", due: run("r").version(3).due(noon), jobs: []jobs.Job{active("j1", "v1")}, want: []string{"adopt r j1"}},
		{name: "comes back after its Job has ended", due: run("r").version(3).due(noon), jobs: []jobs.Job{ended("j1", "v1")}, want: []string{"launch r"}},
		{name: "comes back while its Job is being deleted", due: run("r").version(3).due(noon), jobs: []jobs.Job{{Name: "j1", Attempt: "v1", CanTake: true, Terminating: true}}},
		{name: "comes back while a pod lives whose Job was deleted", due: run("r").version(3).due(noon), alive: true},
		{name: "comes back while a pod lives whose Job has ended", due: run("r").version(3).due(noon), jobs: []jobs.Job{ended("j1", "v1")}, alive: true},
		{name: "comes back while its Job's pod lives", due: run("r").version(3).due(noon), jobs: []jobs.Job{active("j1", "v1")}, alive: true, want: []string{"adopt r j1"}},
		{name: "comes back while a sidecar keeps its Job", due: run("r").version(3).due(noon), jobs: []jobs.Job{over("j1", "v1")}, want: []string{"launch r"}},
		{name: "a Job of this very attempt", due: run("r").due(noon), jobs: []jobs.Job{active("j1", "v1")}, want: []string{"adopt r j1"}},
		{name: "in hand", due: run("r").due(noon), world: func(w *World) { w.Busy = map[string]bool{"r": true} }},
		{name: "settled since it was read", due: run("r").due(noon), world: func(w *World) { w.Settled = map[string]time.Time{"r": noon} }},
		{name: "settled before it was read", due: run("r").due(noon), world: func(w *World) { w.Settled = map[string]time.Time{"r": ago(time.Second)} }, want: []string{"launch r"}},
		{name: "on hold", due: run("r").due(noon), world: func(w *World) { w.NotBefore = map[string]time.Time{"r": noon.Add(1)} }},
		{name: "hold is over", due: run("r").due(noon), world: func(w *World) { w.NotBefore = map[string]time.Time{"r": noon} }, want: []string{"launch r"}},
		{name: "on hold, and claimed by us after all", claimed: run("r").claimedBy("me", "v1", "j1", ago(time.Second)), world: func(w *World) { w.NotBefore = map[string]time.Time{"r": noon.Add(1)} }, want: []string{"repair r"}},
		{name: "a claim on hold", claimed: run("r").claimedBy("me", "v1", "j1", ago(time.Second)), world: func(w *World) { w.NotBefore = map[string]time.Time{"claim r": noon.Add(1)} }},

		{name: "retry is due", due: run("r").retrying("t", 4, ago(3*time.Second)), want: []string{"relaunch r"}},
		{name: "retry is due of a run submitted from here", due: run("r").retrying("t", 4, noon).lastFrom("here"), want: []string{"relaunch r"}},
		{name: "retry is due of a run that another cluster submitted", due: run("r").retrying("t", 4, noon).lastFrom("there")},
		{name: "retry is due of a run that another cluster submitted, beside a Job of ours", due: run("r").retrying("t", 4, noon).lastFrom("there"), jobs: []jobs.Job{active("j2", "retry-t-v4")}},
		{name: "scheduled, and another cluster's before", due: run("r").version(5).due(noon).lastFrom("there"), want: []string{"launch r"}},
		{name: "retry is due, its Job was created before we died", due: run("r").retrying("t", 4, noon), jobs: []jobs.Job{active("j2", "retry-t-v4")}, want: []string{"adopt r j2"}},
		{name: "retry is due, its Job came and went", due: run("r").retrying("t", 4, noon), jobs: []jobs.Job{ended("j2", "retry-t-v4")}, want: []string{"adopt r j2"}},
		{name: "retry is due, the run's pod lives", due: run("r").retrying("t", 4, noon), jobs: []jobs.Job{active("j1", "v1")}},
		{name: "retry is due, a pod lives whose Job was deleted", due: run("r").retrying("t", 4, noon), alive: true},
		{name: "retry is due, a pod lives beside the Job made for it", due: run("r").retrying("t", 4, noon), jobs: []jobs.Job{active("j2", "retry-t-v4")}, alive: true, want: []string{"adopt r j2"}},
		{name: "retry is due, a sidecar keeps the run's Job", due: run("r").retrying("t", 4, noon), jobs: []jobs.Job{over("j1", "v1")}, want: []string{"relaunch r"}},
		{name: "retry is due, the run's pod is gone", due: run("r").retrying("t", 4, noon), jobs: []jobs.Job{ended("j1", "v1")}, want: []string{"relaunch r"}},

		{name: "claim without a Job", claimed: run("r").version(2).claimedBy("other", "v1", "j", ago(10*time.Second)), want: []string{"repair r"}},
		{name: "claim without a Job, of which Prefect knows", claimed: run("r").version(2).claimedBy("me", "v1", "j", ago(time.Hour)).known()},
		{name: "young claim without a Job", claimed: run("r").version(2).claimedBy("other", "v1", "j", ago(9*time.Second))},
		{name: "young claim of our own that is not in hand", claimed: run("r").version(2).claimedBy("me", "v1", "j", ago(time.Second)), want: []string{"repair r"}},
		{name: "claim of our own in hand", claimed: run("r").version(2).claimedBy("me", "v1", "j", ago(time.Hour)), world: func(w *World) { w.Busy = map[string]bool{"r": true} }},
		{name: "claim for another namespace", claimed: elsewhere},
		{name: "claim without a Job, with our namespace's UID", claimed: marked, want: []string{"repair r"}},
		{name: "claim for a namespace of our name in another cluster", claimed: abroad},
		{name: "another cluster's claim beside a Job of ours", claimed: abroad, jobs: []jobs.Job{active("j", "v1")}},
		{name: "claim with its Job under another name", claimed: run("r").version(2).claimedBy("other", "v1", "j", ago(time.Minute)), jobs: []jobs.Job{active("k", "v1")}},
		{name: "claim whose Job has ended", claimed: run("r").version(2).claimedBy("other", "v1", "j", ago(10*time.Second)), jobs: []jobs.Job{ended("j", "v1")}, want: []string{"review r"}},
		{name: "young claim whose Job has ended", claimed: run("r").version(2).claimedBy("other", "v1", "j", ago(9*time.Second)), jobs: []jobs.Job{ended("j", "v1")}},
		{name: "claim whose Job has ended, for so long that Prefect reschedules the run", claimed: run("r").version(2).claimedBy("other", "v1", "j", ago(10*time.Minute)), jobs: []jobs.Job{ended("j", "v1")}},
		{name: "claim whose Job has ended and whose pod lives", claimed: run("r").version(2).claimedBy("other", "v1", "j", ago(time.Minute)), jobs: []jobs.Job{ended("j", "v1")}, alive: true},
		{
			name:    "claim whose Job has ended, reviewed of late",
			claimed: run("r").version(2).claimedBy("other", "v1", "j", ago(time.Minute)), jobs: []jobs.Job{ended("j", "v1")},
			world: func(w *World) { w.NotBefore = map[string]time.Time{"claim r": noon.Add(1)} },
		},
		{
			name: "due again, its claim reviewed of late",
			due:  run("r").version(3).due(noon), jobs: []jobs.Job{ended("j", "v1")}, want: []string{"launch r"},
			world: func(w *World) { w.NotBefore = map[string]time.Time{"claim r": noon.Add(1)} },
		},
		{name: "claim that adopted an earlier attempt's Job", claimed: run("r").version(4).claimedBy("other", "v3", "j", ago(time.Minute)), jobs: []jobs.Job{active("j", "v1")}},
		{name: "claim that adopted an earlier Job, which has ended", claimed: run("r").version(4).claimedBy("other", "v3", "j", ago(time.Minute)), jobs: []jobs.Job{ended("j", "v1")}, want: []string{"repair r"}},
		{name: "young claim that adopted an earlier Job, which has ended", claimed: run("r").version(4).claimedBy("other", "v3", "j", ago(time.Second)), jobs: []jobs.Job{ended("j", "v1")}},
		{name: "claim whose Job was deleted, its pod lives", claimed: run("r").version(2).claimedBy("other", "v1", "j", ago(time.Minute)), alive: true},
		{name: "claim without a Job of its attempt", claimed: run("r").version(4).claimedBy("other", "v3", "j3", ago(time.Minute)), jobs: []jobs.Job{ended("j", "v1")}, want: []string{"repair r"}},
		{name: "claim whose pod waits long", claimed: run("r").version(2).claimedBy("other", "v1", "j", ago(3*time.Minute)), jobs: []jobs.Job{active("j", "v1")}, want: []string{"heartbeat r"}},
		{name: "claim whose pod waits long, with a heartbeat of late", claimed: run("r").version(2).claimedBy("other", "v1", "j", ago(time.Hour)), jobs: []jobs.Job{active("j", "v1")}, world: func(w *World) { w.KeepBy = map[string]time.Time{"r": noon.Add(time.Minute)} }},
		{
			name:    "claim whose pod waits long, with a heartbeat of another launcher's",
			claimed: run("r").version(2).claimedBy("other", "v1", "j", ago(time.Hour)).beaten(ago(3*time.Minute - 1)), jobs: []jobs.Job{active("j", "v1")},
		},
		{
			name:    "claim whose pod waits long, with an old heartbeat",
			claimed: run("r").version(2).claimedBy("other", "v1", "j", ago(time.Hour)).beaten(ago(3 * time.Minute)), jobs: []jobs.Job{active("j", "v1")}, want: []string{"heartbeat r"},
		},
		{name: "submitted by somebody else", claimed: func() *runBuilder { r := run("r"); r.State = inState("Submitted"); return r }()},

		{name: "in both reads, due the later one", due: run("r").version(3).due(noon), claimed: run("r").version(2).claimedBy("other", "v1", "j", ago(time.Hour)), want: []string{"launch r"}},
		{
			name: "in both reads, claimed the later one",
			due:  run("r").due(noon), claimed: run("r").version(2).claimedBy("other", "v1", "j", ago(time.Hour)).readAt(noon.Add(1)),
			want: []string{"repair r"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := World{Now: noon, NamespaceUID: "here", Present: map[string]jobs.Presence{"r": {Jobs: tc.jobs, Alive: tc.alive}}}
			for _, r := range []*runBuilder{tc.due, tc.claimed} {
				if r != nil && r.ReadAt.IsZero() {
					r.ReadAt = noon
				}
			}
			if tc.due != nil {
				w.Due = []prefect.FlowRun{tc.due.FlowRun}
			}
			if tc.claimed != nil {
				w.Claimed = []prefect.FlowRun{tc.claimed.FlowRun}
			}
			if tc.world != nil {
				tc.world(&w)
			}
			p := NewPlan(planOptions(), w)
			if diff := cmp.Diff(tc.want, decisions(p.Actions)); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.ahead, decisions(p.Ahead)); diff != "" {
				t.Errorf("ahead (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanOrder(t *testing.T) {
	w := World{
		Now: noon,
		Claimed: []prefect.FlowRun{
			run("waits").version(2).claimedBy("other", "v1", "w", noon.Add(-time.Hour)).FlowRun,
			run("younger").version(2).claimedBy("other", "v1", "y", noon.Add(-time.Minute)).FlowRun,
			run("older").version(2).claimedBy("other", "v1", "o", noon.Add(-time.Hour)).FlowRun,
			run("ended").version(2).claimedBy("other", "v1", "e", noon.Add(-time.Minute)).FlowRun,
			run("ended first").version(2).claimedBy("other", "v1", "e", noon.Add(-2*time.Minute)).FlowRun,
		},
		Present: map[string]jobs.Presence{
			"waits": {Jobs: []jobs.Job{{Name: "w", Attempt: "v1", CanTake: true}}},
			"ended": {Jobs: []jobs.Job{{Name: "e", Attempt: "v1"}}}, "ended first": {Jobs: []jobs.Job{{Name: "e", Attempt: "v1"}}},
		},
	}
	for i := range 6 {
		w.Due = append(w.Due, run(fmt.Sprint(5-i)).due(noon.Add(time.Duration(5-i)*time.Second-3*time.Second)).FlowRun)
	}
	for name, k := range map[string]trouble.Kind{"failed": trouble.Failed, "over": trouble.Over, "lasting": trouble.Lasting} {
		w.Troubled = append(w.Troubled, jobs.Troubled{Finding: trouble.Finding{Kind: k}, Job: name, Run: name})
	}
	o := planOptions() // in which Jobs that have completed are to stay
	for _, tc := range []struct {
		turn int
		want []string
	}{
		// The due order, begun at a place of this launcher's own, which moves.
		{0, []string{"repair older", "repair younger", "resolve failed failed", "launch 3", "launch 0", "launch 1", "launch 2", "resolve over over", "review ended first", "heartbeat waits"}},
		{1, []string{"repair older", "repair younger", "resolve failed failed", "launch 0", "launch 1", "launch 2", "launch 3", "resolve over over", "review ended first", "heartbeat waits"}},
	} {
		w.Rotation = tc.turn
		p := NewPlan(o, w)
		if diff := cmp.Diff(tc.want, decisions(p.Actions)); diff != "" {
			t.Errorf("turn %d: actions (-want +got):\n%s", tc.turn, diff)
		}
		if diff := cmp.Diff([]string{"launch 4", "launch 5"}, decisions(p.Ahead)); diff != "" {
			t.Errorf("turn %d: ahead (-want +got):\n%s", tc.turn, diff)
		}
	}
}

// A world in which everything planned was done leaves nothing to plan, at that
// moment.
func TestPlanningThePlannedWorldGivesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := planOptions()
		w := World{Now: noon, Present: map[string]jobs.Presence{}, KeepBy: map[string]time.Time{}, NotBefore: map[string]time.Time{}, Rotation: rapid.IntRange(0, 100).Draw(t, "turn")}
		second := func(label string, from, to int) time.Time {
			return noon.Add(time.Duration(rapid.IntRange(from, to).Draw(t, label)) * time.Second)
		}
		for i := range rapid.IntRange(0, 12).Draw(t, "runs") {
			r := run(fmt.Sprintf("r%d", i)).version(rapid.IntRange(1, 4).Draw(t, "version"))
			for range rapid.IntRange(0, 2).Draw(t, "jobs") {
				w.add(r.ID, jobs.Job{
					Name:    rapid.SampledFrom([]string{"j1", "j2"}).Draw(t, "job"),
					Attempt: rapid.SampledFrom([]string{"v1", "v2", "retry-t-v1"}).Draw(t, "attempt"),
					CanTake: rapid.Bool().Draw(t, "active"), Terminating: rapid.Bool().Draw(t, "leaving"),
				})
			}
			if rapid.Bool().Draw(t, "alive") {
				p := w.Present[r.ID]
				p.Alive = true
				w.Present[r.ID] = p
			}
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				w.Due = append(w.Due, r.due(second("due", -20, 10)).FlowRun)
			case 1:
				w.Due = append(w.Due, r.retrying("t", 1, second("retry", -20, 0)).FlowRun)
			case 2:
				by := rapid.SampledFrom([]string{"me", "other"}).Draw(t, "by")
				w.Claimed = append(w.Claimed, r.claimedBy(by, "v1", "j1", second("claimed", -400, 0)).FlowRun)
			}
		}
		p := NewPlan(o, w)
		repaired := map[string]bool{}
		for _, a := range p.Actions {
			w.apply(o, a)
			repaired[a.Run.ID] = a.Kind == Repair
		}
		again := NewPlan(o, w)
		for _, a := range again.Actions {
			// A claim that lay about for long needs a sign of life besides its Job, and of
			// claims one is reviewed at a time.
			reviewed := w.NotBefore[a.backoffKey()].After(w.Now)
			if (a.Kind != Heartbeat || !repaired[a.Run.ID]) && (a.Kind != Review || reviewed) {
				t.Fatalf("planned %v, then again %v", decisions(p.Actions), decisions(again.Actions))
			}
		}
		if diff := cmp.Diff(p.Ahead, again.Ahead); diff != "" {
			t.Fatalf("what lies ahead changed:\n%s", diff)
		}
	})
}

// add has a run have another Job.
func (w *World) add(run string, j jobs.Job) {
	p := w.Present[run]
	p.Jobs = append(p.Jobs, j)
	w.Present[run] = p
}

// apply is the world after an action succeeded.
func (w *World) apply(o Options, a Action) {
	name := a.Job
	switch a.Kind {
	case Heartbeat:
		w.KeepBy[a.Run.ID] = w.Now.Add(keepFor)
		return
	case Review:
		w.NotBefore[a.backoffKey()] = w.Now.Add(claims.ReviewAgain)
		return
	case Repair:
		w.add(a.Run.ID, jobs.Job{Name: a.Run.Claim.Job, Attempt: job.AttemptLabel(a.Run.Claim.Attempt), CanTake: true})
		return
	case Launch, Relaunch:
		name = "new"
		w.add(a.Run.ID, jobs.Job{Name: name, Attempt: job.AttemptLabel(a.Run.Attempt), CanTake: true})
	}
	for i, r := range w.Due {
		if r.ID == a.Run.ID {
			w.Due = append(w.Due[:i:i], w.Due[i+1:]...)
			break
		}
	}
	if a.Run.State.Phase.IsWaiting() {
		w.Claimed = append(w.Claimed, run(a.Run.ID).version(versionOf(a.Run)+1).claimedBy(o.Name, a.Run.Attempt, name, w.Now).FlowRun)
	}
}

// Where no Job is left to take the case on, launchers come one after another: each
// run's in an order of its own, and all within ten seconds.
func TestLaunchersComeOneAfterAnotherForAJobThatIsGone(t *testing.T) {
	comes := func(launcher, run string) int {
		for second := range 11 {
			w := World{
				Now: noon.Add(time.Duration(second) * time.Second), SupervisedRead: noon,
				Troubled: []jobs.Troubled{{Finding: trouble.Finding{Kind: trouble.JobGone, Final: true}, Job: "job-" + run, Run: run}},
			}
			if len(NewPlan(options(launcher).withDefaults(), w).Actions) > 0 {
				return second
			}
		}
		t.Fatalf("%s does not come for %s within ten seconds", launcher, run)
		return 0
	}
	var got [2][]int
	for i, run := range []string{"r1", "r2"} {
		for _, launcher := range []string{"l1", "l2", "l3", "l4", "l5"} {
			got[i] = append(got[i], comes(launcher, run))
		}
		if alike := slices.Compact(slices.Sorted(slices.Values(got[i]))); len(alike) < 3 {
			t.Errorf("five launchers come for %s after %v s", run, got[i])
		}
	}
	if slices.Equal(got[0], got[1]) {
		t.Errorf("for each run they come after %v s", got[0])
	}
}
