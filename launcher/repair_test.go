package launcher

import (
	"context"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// repairOf is the errand for a claim that has no Job, as far as the plan knew.
func repairOf(claim *prefect.Claim) *errand {
	return &errand{Action: Action{Kind: Repair, Run: submitted(2, claim).FlowRun}}
}

// renamed renders with a template that has been given another name since.
type renamed struct{}

func (renamed) Render(ctx context.Context, r prefect.FlowRun) (*batchv1.Job, error) {
	j, err := template{}.Render(ctx, r)
	if err == nil {
		j.Name, _ = job.Name("new-name", r.ID, r.Attempt(), 0)
	}
	return j, err
}

// The name that was claimed is the lock: whoever claimed it may be creating it just
// now, and a template of another name would make a second Job.
func TestRepairedJobHasTheClaimedName(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(submitted(2, ours("v1")))
		l, world := alone(m)
		l.renderer = renamed{}
		if o := l.perform(t.Context(), repairOf(ours("v1"))); o.result != done {
			t.Fatalf("%s (%v), want %s", o.result, o.err, done)
		}
		if world.store.jobs[ours("v1").Job] == nil {
			t.Errorf("created %v, want %s", world.store.jobs, ours("v1").Job)
		}
	})
}

// What a watch did not tell the plan is looked up, at each try: the Jobs and the
// pods first, then the run.
func TestRepairLooksAtEachTry(t *testing.T) {
	busy := apierrors.NewTooManyRequests("slow down", 1)
	for _, tc := range []struct {
		name string
		what func(*memory, *store)
		want string
	}{
		{"nothing", func(*memory, *store) {}, done},
		{"its launcher has created it", func(_ *memory, s *store) { _ = s.create(jobOfRun("r")) }, adopted},
		{"its launcher's Job has ended", func(_ *memory, s *store) { _ = s.create(jobOfRun("r", complete)) }, adopted},
		{
			"another attempt's Job can take the run",
			func(_ *memory, s *store) {
				_ = s.create(jobOfRun("r", func(j *batchv1.Job) { j.Labels[job.LabelAttempt] = "v0" }))
			},
			adopted,
		},
		{
			"its Job is gone and a pod of it lives",
			func(_ *memory, s *store) {
				s.pods = []*corev1.Pod{podOf("r", corev1.PodStatus{Phase: corev1.PodRunning})}
			},
			later,
		},
		{"its Job came and went with the run's end", func(m *memory, _ *store) { m.set(submitted(4, nil).in(prefect.Success)) }, overtaken},
		{"it was handed back", func(m *memory, _ *store) { m.set(run("r").version(3)) }, overtaken},
	} {
		t.Run("at first: "+tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(submitted(2, ours("v1")))
				l, world := alone(m)
				tc.what(m, world.store)
				expectRepair(t, l.perform(t.Context(), repairOf(ours("v1"))), world, tc.want)
			})
		})
		t.Run("between two tries: "+tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(submitted(2, ours("v1")))
				l, world := alone(m)
				e := repairOf(ours("v1"))
				world.refusal = busy
				if o := l.perform(t.Context(), e); o.again.IsZero() {
					t.Fatalf("%s (%v), want another try", o.result, o.err)
				}
				world.refusal = nil
				tc.what(m, world.store)
				expectRepair(t, l.perform(t.Context(), e), world, tc.want)
			})
		})
	}
}

// expectRepair: a Job is created when that is done, and else none of ours.
func expectRepair(t *testing.T, o outcome, world *meanwhile, want string) {
	t.Helper()
	if o.result != want {
		t.Errorf("%s (%v), want %s", o.result, o.err, want)
	}
	if created := world.store.jobs[ours("v1").Job] != nil; created != (want == done) {
		t.Errorf("created: %v (%q)", created, world.store.created)
	}
}

// A Job that was there when ours was to be created and is gone when we ask whose it
// was may have taken the run up to its end.
func TestJobThatCameAndWentIsNotCreatedAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		then func(*memory)
		want string
	}{
		"with the run's end":   {func(m *memory) { m.set(submitted(4, nil).in(prefect.Success)) }, overtaken},
		"deleted by somebody":  {func(*memory) {}, done},
		"and handed back with": {func(m *memory) { m.set(run("r").version(3)) }, overtaken},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(run("r"))
				l, world := alone(m)
				other, err := template{}.Render(t.Context(), run("r").FlowRun)
				if err != nil {
					t.Fatal(err)
				}
				world.before["create"] = func() { _ = world.store.create(other) }
				world.after["create"] = func() {
					delete(world.store.jobs, other.Name)
					tc.then(m)
				}
				e := &errand{Action: Action{Kind: Launch, Run: run("r").readAt(time.Now()).FlowRun}}
				if o := l.perform(t.Context(), e); o.again.IsZero() {
					t.Fatalf("%s (%v), want another try", o.result, o.err)
				}
				clear(world.before)
				clear(world.after)
				if o := l.perform(t.Context(), e); o.result != tc.want || world.store.jobs[other.Name] != nil != (tc.want == done) {
					t.Errorf("%s (%v) with Jobs %v, want %s", o.result, o.err, world.store.jobs, tc.want)
				}
			})
		})
	}
}

// Of a Job whose name is ours already, it depends on whose it is.
func TestJobOfOurNameIsOurs(t *testing.T) {
	of := func(run, attempt string) *batchv1.Job {
		return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "j", Labels: map[string]string{job.LabelFlowRunID: run, job.LabelAttempt: attempt}}}
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
		if got := isOurs(tc.found, of("r", "v3")); got != tc.want {
			t.Errorf("%s: ours %v, want %v", name, got, tc.want)
		}
	}
}
