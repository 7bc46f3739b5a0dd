package informer

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/jobs/informer/crowd"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// What is packed comes out as it went in, in every part that judgements need.
func TestPackedIsAsItWas(t *testing.T) {
	marks := kubernetesrun.Marks()
	c := &crowd.Crowd{Finished: 1, Active: 1, RunLabel: marks.Run}
	i := New("flows", marks, Client{}, Hooks{})
	failed := c.Job(0)
	failed.Annotations = map[string]string{trouble.Annotation: `{"done":true}`, "other": "thing"}
	failed.Labels = map[string]string{marks.Run: "r"}
	failed.Status.Failed, failed.Status.Conditions = 1, []batchv1.JobCondition{{
		Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded", Message: "it has failed", LastTransitionTime: failed.CreationTimestamp,
	}}
	failed.DeletionTimestamp = &failed.CreationTimestamp
	for name, j := range map[string]*batchv1.Job{"completed": c.Job(0), "running": c.Job(1), "failed": failed} {
		e, err := i.jobs.entryOf(j)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(trouble.SlimJob(j, marks), e.object()); d != "" {
			t.Errorf("a Job that is %s (-want +got):\n%s", name, d)
		}
	}
	for n, phase := range []corev1.PodPhase{corev1.PodSucceeded, corev1.PodRunning} {
		p := c.Pod(n)
		e, err := i.pods.entryOf(p)
		if err != nil || p.Status.Phase != phase {
			t.Fatalf("%s: %v", p.Status.Phase, err)
		}
		if d := cmp.Diff(trouble.SlimPod(p, marks), e.object()); d != "" {
			t.Errorf("a pod that has %s (-want +got):\n%s", phase, d)
		}
	}
}

// An object is found by its name and by its run, whichever changes of both there were.
func TestStoreFollowsChanges(t *testing.T) {
	marks := kubernetesrun.Marks()
	var told []string
	i := New("flows", marks, Client{}, Hooks{Job: func(e watch.EventType, name, run string) { told = append(told, fmt.Sprint(e, " ", name, " of ", run)) }})
	aJob := func(name, run, version string, finished bool) *batchv1.Job {
		j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "flows", ResourceVersion: version, Labels: map[string]string{marks.Run: run}}}
		if finished {
			j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
		}
		return j
	}
	type found struct {
		Told, One, Two, Active []string
	}
	for _, step := range []struct {
		name string
		as   cache.DeltaType
		job  *batchv1.Job
		want found
	}{
		{"one comes", cache.Added, aJob("a", "1", "1", false), found{Told: []string{"ADDED a of 1"}, One: []string{"a"}, Active: []string{"1"}}},
		{"another of the run", cache.Added, aJob("b", "1", "2", true), found{Told: []string{"ADDED b of 1"}, One: []string{"a", "b"}, Active: []string{"1"}}},
		{"a third", cache.Added, aJob("c", "1", "3", true), found{Told: []string{"ADDED c of 1"}, One: []string{"a", "b", "c"}, Active: []string{"1"}}},
		{"the list has it as it was", cache.Replaced, aJob("b", "1", "2", true), found{One: []string{"a", "b", "c"}, Active: []string{"1"}}},
		{"the list has it changed", cache.Replaced, aJob("b", "1", "4", true), found{Told: []string{"MODIFIED b of 1"}, One: []string{"a", "b", "c"}, Active: []string{"1"}}},
		{"the first ends", cache.Updated, aJob("a", "1", "5", true), found{Told: []string{"MODIFIED a of 1"}, One: []string{"a", "b", "c"}}},
		{"one gets another run's label", cache.Updated, aJob("b", "2", "6", false), found{Told: []string{"MODIFIED b of 1", "MODIFIED b of 2"}, One: []string{"a", "c"}, Two: []string{"b"}, Active: []string{"2"}}},
		{"one goes", cache.Deleted, aJob("c", "1", "7", true), found{Told: []string{"DELETED c of 1"}, One: []string{"a"}, Two: []string{"b"}, Active: []string{"2"}}},
		{"it goes again", cache.Deleted, aJob("c", "1", "7", true), found{One: []string{"a"}, Two: []string{"b"}, Active: []string{"2"}}},
		{"the last one goes", cache.Deleted, aJob("b", "2", "8", false), found{Told: []string{"DELETED b of 2"}, One: []string{"a"}}},
	} {
		told = nil
		e, err := i.jobs.entryOf(step.job)
		if err != nil {
			t.Fatal(err)
		}
		if err := i.jobs.process(cache.Deltas{{Type: step.as, Object: e}}, false); err != nil {
			t.Fatal(err)
		}
		names := func(run string) (all []string) {
			for _, j := range i.JobsOf(run) {
				all = append(all, j.Name)
			}
			slices.Sort(all)
			return all
		}
		if d := cmp.Diff(step.want, found{told, names("1"), names("2"), i.Active()}); d != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, d)
		}
	}
}
