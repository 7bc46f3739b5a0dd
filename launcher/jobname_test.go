package launcher

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect"
)

func TestNameTakenByAnotherRunsJob(t *testing.T) {
	bubble(t, func(t *testing.T) {
		name, _ := job.Name("prefect-job", "r", "v1", 0)
		next, _ := job.Name("prefect-job", "r", "v1", 1)
		b := start(t, newMemory(run("r")), func(_ *Options, client *fake.Clientset) {
			other := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "flows", Labels: map[string]string{kubernetesrun.LabelFlowRunID: "other"}}}
			if err := client.Tracker().Add(other); err != nil {
				t.Fatal(err)
			}
		})
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		got := map[string]string{}
		for _, j := range b.jobs() {
			got[j.Name] = j.Labels[kubernetesrun.LabelFlowRunID]
		}
		if diff := cmp.Diff(map[string]string{name: "other", next: "r"}, got); diff != "" {
			t.Errorf("Jobs (-want +got):\n%s", diff)
		}
	})
}

// titled renders with a template that has a name.
type titled struct {
	template
	name string
}

func (n titled) Render(ctx context.Context, r prefect.FlowRun) (job.Rendering, error) {
	made, err := n.template.Render(ctx, r)
	if err != nil {
		return made, err
	}
	return under(n.name, made, r), nil
}

// claimNamed is a claim of an attempt with a Job named by a template of that name.
func claimNamed(prefix string, attempt prefect.Attempt) *prefect.Claim {
	c := ours(attempt)
	c.Job, _ = job.Name(prefix, "r", attempt, 0)
	return c
}

// A name that other launchers may not share is used only once the run shows that
// nobody has claimed another, or if nobody can have.
func TestClaimThatStuckNamesTheJob(t *testing.T) {
	inline := run("r")
	inline.runConfig(`{"type":"KubernetesRun","job_template":{"metadata":{"name":"own"}}}`)
	for _, tc := range []struct {
		name     string
		renderer Renderer
		run      *runBuilder
		// other is claimed right after ours, or right before.
		other  string
		before bool
		sole   bool
		want   string // prefix
		reads  int
	}{
		{"the default name", template{}, run("r"), "", false, false, "prefect-job", 0},
		{"an inline template's", titled{name: "own"}, inline, "", false, false, "own", 0},
		{"nobody else's claim", titled{name: "a"}, run("r"), "", false, false, "a", 1},
		{"a claim beside which no other is won", titled{name: "a"}, run("r"), "", false, true, "a", 0},
		{"another claim of the name", titled{name: "a"}, run("r"), "a", true, false, "a", 1},
		{"another name was claimed before", titled{name: "a"}, run("r"), "b", true, false, "", 1},
		{"another name was claimed since", titled{name: "a"}, run("r"), "b", false, false, "", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(tc.run).replicated()
				if tc.sole {
					m.arbitrating()
				}
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
				o := carriedOut(t, l, Action{Kind: Launch, Run: tc.run.readAt(time.Now()).FlowRun})
				if reads := m.count("read"); reads != tc.reads {
					t.Errorf("read %d times, want %d", reads, tc.reads)
				}
				if tc.want != "" {
					expectName(t, o, world, tc.want, "v1")
					return
				}
				if wait := time.Until(o.backoff); o.result != later || len(world.store.created) > 0 || wait <= claims.CreateWithin {
					t.Fatalf("%s for %s, created %q; want to wait for the other", o.result, wait, world.store.created)
				}
				// By then one has made its Job, or never will.
				time.Sleep(time.Until(o.backoff))
				stuck := m.get("r")
				repair := carriedOut(t, l, Action{Kind: Repair, Run: stuck})
				expectName(t, repair, world, job.PrefixOf(stuck.Claim.Job), "v1")
			})
		})
	}
}

// A launcher that was stopped after its claim finds the rivals settled when it reads the
// claims at last. The Job is then there by the other's name, though no watch has told.
func TestRivalsJobIsFoundOnceTheySettled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r")).replicated()
		l, world := alone(m)
		l.renderer = titled{name: "a"}
		world.before["claim"] = func() {
			if _, err := m.Claim(t.Context(), run("r").FlowRun, *claimNamed("b", "v1")); err != nil {
				t.Fatal(err)
			}
		}
		world.before["read"] = func() {
			if len(world.store.jobs) == 0 {
				_ = world.store.create(jobOfRun("r"))
				time.Sleep(claims.RivalsSettle + time.Second)
			}
		}
		o := carriedOut(t, l, Action{Kind: Launch, Run: run("r").readAt(time.Now()).FlowRun})
		if o.result != adopted || len(world.store.created) != 1 {
			t.Errorf("%s (%v), Jobs created: %q; want the other's adopted", o.result, o.err, world.store.created)
		}
	})
}

func expectName(t *testing.T, o outcome, world *meanwhile, prefix string, attempt prefect.Attempt) {
	t.Helper()
	want, identifier := job.Name(prefix, "r", attempt, 0)
	if j := world.store.jobs[want]; o.result != done || j == nil || j.Labels[kubernetesrun.LabelIdentifier] != identifier {
		t.Errorf("%s (%v), Jobs %v, want %s", o.result, o.err, world.store.jobs, want)
	}
}

// The claim that a repair was planned for may have been overwritten since.
func TestRepairNamesTheJobAsTheRunsClaimNow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(submitted(2, claimNamed("b", "v1")))
		l, world := alone(m)
		l.renderer = titled{name: "c"}
		expectName(t, carriedOut(t, l, repairOf(claimNamed("a", "v1"))), world, "b", "v1")
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
		a      Action
		prefix string
		of     prefect.Attempt
	}{
		{"a retry's", Action{Kind: Relaunch, Run: retry.FlowRun}, "b", retry.Attempt},
		{"a retry's whose run an agent submitted", Action{Kind: Relaunch, Run: agents.FlowRun}, "a", agents.Attempt},
		{"in place of one that was adopted", Action{Kind: Repair, Run: submitted(4, adopting).FlowRun}, "b", "v3"},
		{"in place of one that is named otherwise", repairOf(foreign), "a", "v1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				tc.a.Run.ReadAt = time.Now()
				m := newMemory(&runBuilder{tc.a.Run})
				l, world := alone(m)
				l.renderer = titled{name: "a"}
				expectName(t, carriedOut(t, l, tc.a), world, tc.prefix, tc.of)
			})
		})
	}
}

// The name that was claimed is the lock: whoever claimed it may be creating it just
// now, and a template of another name would make a second Job.
func TestRepairedJobHasTheClaimedName(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(submitted(2, ours("v1")))
		l, world := alone(m)
		l.renderer = titled{name: "new-name"} // it has been given another name since
		if o := carriedOut(t, l, repairOf(ours("v1"))); o.result != done {
			t.Fatalf("%s (%v), want %s", o.result, o.err, done)
		}
		if world.store.jobs[ours("v1").Job] == nil {
			t.Errorf("created %v, want %s", world.store.jobs, ours("v1").Job)
		}
	})
}

// Of a Job whose name is ours already, it depends on whose it is.
func TestJobOfOurNameIsOurs(t *testing.T) {
	of := func(run, attempt string) *batchv1.Job {
		return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "j", Labels: map[string]string{kubernetesrun.LabelFlowRunID: run, job.LabelAttempt: attempt}}}
	}
	ended := func(j *batchv1.Job) *batchv1.Job {
		complete(j)
		return j
	}
	for name, tc := range map[string]struct {
		found *batchv1.Job
		want  bool
	}{
		"this attempt's":                    {of("r", "v3"), true},
		"this attempt's, which has ended":   {ended(of("r", "v3")), true},
		"an earlier one's that can take it": {of("r", "v1"), true},
		"an earlier one's that has ended":   {ended(of("r", "v1")), false},
		"another run's":                     {of("other", "v3"), false},
		"another run's, which has ended":    {ended(of("other", "v3")), false},
		"one that somebody made by hand":    {&batchv1.Job{}, false},
		"one that has lost a label":         {of("r", ""), true},
	} {
		if got := isOurs(tc.found, of("r", "v3"), kubernetesrun.Marks()); got != tc.want {
			t.Errorf("%s: ours %v, want %v", name, got, tc.want)
		}
	}
}
