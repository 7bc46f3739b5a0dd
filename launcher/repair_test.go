package launcher

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// repairOf is the action for a claim that has no Job, as far as the plan knew.
func repairOf(claim *prefect.Claim) Action {
	return Action{Kind: Repair, Run: submitted(2, claim).FlowRun}
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
		{"its Job came and went with the run's end", func(m *memory, _ *store) { m.set(submitted(4, nil).in("Success")) }, overtaken},
		{"its Job came and went, and Prefect knows of it", func(m *memory, _ *store) { m.set(submitted(2, ours("v1")).known()) }, overtaken},
		{"it was handed back", func(m *memory, _ *store) { m.set(run("r").version(3)) }, overtaken},
	} {
		t.Run("at first: "+tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(submitted(2, ours("v1")))
				l, world := alone(m)
				tc.what(m, world.store)
				expectRepair(t, carriedOut(t, l, repairOf(ours("v1"))), world, tc.want)
			})
		})
		t.Run("between two tries: "+tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(submitted(2, ours("v1")))
				l, world := alone(m)
				world.refusal = busy
				tries := 1
				o := l.carryOut(t.Context(), &flight{Action: repairOf(ours("v1"))}, func(context.Context, outcome) {
					tries++
					world.refusal = nil
					tc.what(m, world.store)
				})
				if tries != 2 {
					t.Fatalf("%d tries, want 2", tries)
				}
				expectRepair(t, o, world, tc.want)
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
		"with the run's end":   {func(m *memory) { m.set(submitted(4, nil).in("Success")) }, overtaken},
		"deleted by somebody":  {func(*memory) {}, done},
		"and handed back with": {func(m *memory) { m.set(run("r").version(3)) }, overtaken},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(run("r"))
				l, world := alone(m)
				made, err := template{}.Render(t.Context(), run("r").FlowRun)
				if err != nil {
					t.Fatal(err)
				}
				other := made.Job
				world.before["create"] = func() { _ = world.store.create(other) }
				world.after["create"] = func() {
					delete(world.store.jobs, other.Name)
					tc.then(m)
				}
				tries := 1
				o := l.carryOut(t.Context(), &flight{Action: Action{Kind: Launch, Run: run("r").readAt(time.Now()).FlowRun}}, func(context.Context, outcome) {
					tries++
					clear(world.before)
					clear(world.after)
				})
				if tries != 2 {
					t.Fatalf("%d tries, want 2", tries)
				}
				if o.result != tc.want || world.store.jobs[other.Name] != nil != (tc.want == done) {
					t.Errorf("%s (%v) with Jobs %v, want %s", o.result, o.err, world.store.jobs, tc.want)
				}
			})
		})
	}
}

func TestClaimOfADeadLauncherIsRepaired(t *testing.T) {
	bubble(t, func(t *testing.T) {
		name, _ := job.Name("prefect-job", "r", "v1", 0)
		m := newMemory(run("r").version(2).claimedBy("dead", "v1", name, time.Now()))
		b := start(t, m)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if len(b.jobs()) != 0 {
			t.Error("repaired before the grace was over")
		}
		time.Sleep(7 * time.Second)
		synctest.Wait()
		if jobs := b.jobs(); len(jobs) != 1 || jobs[0].Name != name {
			t.Errorf("Jobs %v, want %s", jobs, name)
		}
		b.stop()
	})
}

// claims of a namespace with our name in another cluster: the Jobs are there, and
// so is whoever sees to them.
func TestAnotherClustersClaimsAreLeftAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		abroad, ours := run("abroad"), run("ours")
		for _, r := range []*runBuilder{abroad, ours} {
			name, _ := job.Name("prefect-job", r.ID, "v1", 0)
			r.version(2).claimedBy("other", "v1", name, time.Now().Add(-time.Minute)).Claim.NamespaceUID = "here"
		}
		abroad.Claim.NamespaceUID = "there"
		m := newMemory(abroad, ours)
		m.setSilent("silent", prefect.Claim{Namespace: "flows", NamespaceUID: "there", Job: "job-silent"})
		b := start(t, m)
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(map[string]int{"ours": 1}, jobsByRun(t, b.client)); diff != "" {
			t.Errorf("Jobs by run (-want +got):\n%s", diff)
		}
		if len(m.writes) > 0 || m.count("heartbeat") > 0 {
			t.Errorf("wrote %q and sent %d heartbeats", m.writes, m.count("heartbeat"))
		}
	})
}

// The launcher that made the Job remembers it until the watch has told of it, and
// no longer.
func TestJobDeletedByHandBeforeItsPodRanIsCreatedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r"))
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.IdleTimeout = time.Hour })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		before := b.jobs()
		if len(before) != 1 {
			t.Fatalf("%d Jobs, want 1", len(before))
		}
		if err := b.client.BatchV1().Jobs("flows").Delete(t.Context(), before[0].Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if after := b.jobs(); len(after) != 1 || after[0].Name != before[0].Name {
			t.Errorf("Jobs %v, want %s again", after, before[0].Name)
		}
		b.stop()
	})
}

// The same while its pod lives on, as after a deletion in the background: two pods
// would execute the run at once.
func TestNoJobIsCreatedBesideAPodThatLives(t *testing.T) {
	bubble(t, func(t *testing.T) {
		name, _ := job.Name("prefect-job", "r", "v1", 0)
		m := newMemory(run("r").version(2).claimedBy("other", "v1", name, time.Now().Add(-time.Minute)))
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.IdleTimeout = time.Hour
			add(t, client, podOf("r", corev1.PodStatus{Phase: corev1.PodRunning}))
		})
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if jobs := b.jobs(); len(jobs) > 0 {
			t.Errorf("created %s beside the pod", jobs[0].Name)
		}
		if err := b.client.CoreV1().Pods("flows").Delete(t.Context(), "pod-r", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if jobs := b.jobs(); len(jobs) != 1 || jobs[0].Name != name {
			t.Errorf("Jobs %v after the pod was gone, want %s", jobs, name)
		}
		b.stop()
	})
}

// Started again in the seconds between the run's end and its Job's, the run is
// claimed with a Job whose pod will not take it.
func TestClaimWithAJobThatEndedIsRepairedUnderItsOwnName(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").version(5).due(time.Now()))
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.IdleTimeout = time.Hour
			add(t, client, jobOfRun("r"))
		})
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if c := m.get("r").Claim; c == nil || c.Job != "job-r" {
			t.Fatalf("claim %+v, want one that adopted job-r", c)
		}
		ended := jobOfRun("r", complete)
		if _, err := b.client.BatchV1().Jobs("flows").Update(t.Context(), ended, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		name, _ := job.Name("prefect-job", "r", "v5", 0)
		got := map[string]string{}
		for _, j := range b.jobs() {
			got[j.Name] = j.Labels[job.LabelAttempt]
		}
		if diff := cmp.Diff(map[string]string{"job-r": "v1", name: "v5"}, got); diff != "" {
			t.Errorf("attempts by Job (-want +got):\n%s", diff)
		}
		b.stop()
	})
}
