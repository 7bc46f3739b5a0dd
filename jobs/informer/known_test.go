package informer_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/jobs/informer"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// unstreamed reports, as the fake Clientset does, that it cannot stream lists.
type unstreamed[L runtime.Object] struct{ informer.Lister[L] }

func (unstreamed[L]) IsWatchListSemanticsUnSupported() bool { return true }

func clientTo(c *fake.Clientset) informer.Client {
	return informer.Client{
		Jobs: unstreamed[*batchv1.JobList]{c.BatchV1().Jobs("flows")},
		Pods: unstreamed[*corev1.PodList]{c.CoreV1().Pods("flows")},
		UID:  func(ctx context.Context) (string, error) { return "here", ctx.Err() },
	}
}

func meta(name, run string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Namespace: "flows",
		Labels:      map[string]string{kubernetesrun.LabelFlowRunID: run, "app": "x"},
		Annotations: map[string]string{"big": "thing"},
	}
}

func aJob(name, run string, conditions ...batchv1.JobConditionType) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: meta(name, run)}
	for _, c := range conditions {
		j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{Type: c, Status: corev1.ConditionTrue})
	}
	return j
}

func aPod(name, run string, phase corev1.PodPhase) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: meta(name, run), Status: corev1.PodStatus{Phase: phase}}
}

func names[T metav1.Object](objects []T) []string {
	var all []string
	for _, o := range objects {
		all = append(all, o.GetName())
	}
	slices.Sort(all)
	return all
}

func TestKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leaving := aJob("leaving", "r4")
		leaving.DeletionTimestamp, leaving.Finalizers = new(metav1.Now()), []string{"foregroundDeletion"}
		i := informer.New("flows", kubernetesrun.Marks(), clientTo(fake.NewClientset(
			aJob("first", "r1", batchv1.JobComplete), aJob("second", "r1"), aPod("second-pod", "r1", corev1.PodRunning),
			aJob("other", "r0"), aJob("third", "r0"),
			aJob("over", "r2", batchv1.JobComplete), aPod("over-pod", "r2", corev1.PodSucceeded),
			aPod("orphan", "r3", corev1.PodRunning), leaving,
		)), informer.Hooks{})
		type answers struct {
			Known           []informer.Part
			UID             string
			All, Jobs, Pods []string
			Active          []string
			NothingLeft     map[string]bool
		}
		ask := func() answers {
			a := answers{
				Known: known(i), UID: i.UID(), All: i.Names(), Jobs: names(i.JobsOf("r1")), Pods: names(i.PodsOf("r1")),
				Active: i.Active(), NothingLeft: map[string]bool{},
			}
			for _, run := range []string{"r1", "r2", "r3", "none"} {
				a.NothingLeft[run] = i.NothingLeft(run, trouble.Rules{})
			}
			return a
		}
		want := answers{NothingLeft: map[string]bool{"r1": false, "r2": false, "r3": false, "none": false}, Known: []informer.Part{}}
		if d := cmp.Diff(want, ask()); d != "" {
			t.Errorf("before anything was read (-want +got):\n%s", d)
		}
		stop := running(t, i)
		synctest.Wait()
		want = answers{
			Known: parts(), UID: "here", All: []string{"first", "leaving", "other", "over", "second", "third"},
			Jobs: []string{"first", "second"}, Pods: []string{"second-pod"}, Active: []string{"r0", "r1"},
			NothingLeft: map[string]bool{"r1": false, "r2": true, "r3": false, "none": true},
		}
		if d := cmp.Diff(want, ask()); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
		j, ok := i.Job("over")
		if d := cmp.Diff(trouble.SlimJob(aJob("over", "r2", batchv1.JobComplete), kubernetesrun.Marks()), j); d != "" || !ok {
			t.Errorf("a Job is kept as (-want +got):\n%s", d)
		}
		if j, ok := i.Job("over-pod"); ok {
			t.Errorf("knows a Job %v", j)
		}
		if d := cmp.Diff([]*corev1.Pod{trouble.SlimPod(aPod("over-pod", "r2", corev1.PodSucceeded), kubernetesrun.Marks())}, i.PodsOf("r2")); d != "" {
			t.Errorf("a pod is kept as (-want +got):\n%s", d)
		}
		stop()
	})
}

// Hooks are told of a deletion that the watch missed too: the next list lacks the object.
func TestHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kube := fake.NewClientset(aJob("kept", "r1"), aJob("deleted", "r2"), aPod("gone", "r1", corev1.PodRunning))
		watches := make(chan *watch.FakeWatcher, 100)
		kube.PrependWatchReactor("*", func(clienttesting.Action) (bool, watch.Interface, error) {
			w := watch.NewFake()
			watches <- w
			return true, w, nil
		})
		var hooks told
		var i *informer.Informer
		i = informer.New("flows", kubernetesrun.Marks(), clientTo(kube), informer.Hooks{
			Job: func(e watch.EventType, name, run string) {
				_, exists := i.Job(name)
				hooks.add(informer.Jobs, fmt.Sprintf("%s %s of %s, there: %v", e, name, run, exists))
			},
			Pod: func(e watch.EventType, name, run string) {
				hooks.add(informer.Pods, fmt.Sprintf("%s %s of %s, there: %v", e, name, run, len(i.PodsOf("r1")) > 0))
			},
			Identified: func() { hooks.add(informer.Namespace, i.UID()) },
		})
		want := func(when string, want map[informer.Part][]string) {
			t.Helper()
			synctest.Wait()
			got := hooks.since()
			for _, all := range got {
				slices.Sort(all)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s (-want +got):\n%s", when, d)
			}
		}
		stop := running(t, i)
		want("at first", map[informer.Part][]string{
			informer.Jobs:      {"ADDED deleted of r2, there: true", "ADDED kept of r1, there: true"},
			informer.Pods:      {"ADDED gone of r1, there: true"},
			informer.Namespace: {"here"},
		})
		for _, err := range []error{
			kube.Tracker().Update(batchv1.SchemeGroupVersion.WithResource("jobs"), aJob("kept", "r1", batchv1.JobComplete), "flows"),
			kube.Tracker().Delete(batchv1.SchemeGroupVersion.WithResource("jobs"), "flows", "deleted"),
			kube.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), "flows", "gone"),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		expired := apierrors.NewResourceExpired("too old resource version").Status()
		for range 2 {
			(<-watches).Error(&expired)
		}
		time.Sleep(time.Minute)
		want("after what the watches missed", map[informer.Part][]string{
			informer.Jobs: {"DELETED deleted of r2, there: false", "MODIFIED kept of r1, there: true"},
			informer.Pods: {"DELETED gone of r1, there: false"},
		})
		time.Sleep(time.Hour)
		want("when the namespace is read again and is the same", nil)
		stop()
	})
}
