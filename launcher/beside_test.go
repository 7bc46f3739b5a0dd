package launcher

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	corev1 "k8s.io/api/core/v1"
)

// A pod outlives its Job for a while, as after `kubectl delete job`. Neither who
// hears of it from the watch, nor who finds it in the list, launches beside it.
func TestNothingIsLaunchedBesideAPodThatLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		again := run("r").version(3).due(time.Now())
		first := run("r").due(time.Now())
		retry := run("r").version(3).retrying("t", 4, time.Now())
		for _, tc := range []struct {
			name  string
			run   *runBuilder
			kind  Kind
			phase corev1.PodPhase
			blind bool
			want  string
		}{
			{"started again, as the watch tells", first, Launch, corev1.PodRunning, false, overtaken},
			{"started again, as the list tells", again, Launch, corev1.PodRunning, true, later},
			{"started again, its pod has ended", again, Launch, corev1.PodFailed, false, done},
			{"retry, as the watch tells", retry, Relaunch, corev1.PodRunning, false, overtaken},
			{"retry, as the list tells", retry, Relaunch, corev1.PodPending, true, later},
			{"retry, its pod has ended", retry, Relaunch, corev1.PodSucceeded, true, done},
		} {
			m, st := newMemory(tc.run), emptyStore()
			st.pods = []*corev1.Pod{podOf("r", corev1.PodStatus{Phase: tc.phase})}
			y := &eyes{memory: m, store: st, actor: "me", blind: tc.blind}
			l := newLauncher(Options{Name: "me", Namespace: "flows", Marks: kubernetesrun.Marks()}.withDefaults(), y, template{}, y)
			o := carriedOut(t, l, Action{Kind: tc.kind, Run: tc.run.readAt(time.Now()).FlowRun})
			if launched := len(st.created) > 0; o.result != tc.want || launched != (tc.want == done) {
				t.Errorf("%s: %s, want %s; created %q, wrote %q", tc.name, o.result, tc.want, st.created, m.writes)
			}
			if o.result == later && !o.backoff.After(time.Now()) {
				t.Errorf("%s: it is to be looked at again at once", tc.name)
			}
		}
	})
}

// While we decided, another cluster may have launched the run and its task may
// have come to wait again.
func TestRetryIsNotRelaunchedOnceTheRunIsAnotherClusters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		retry := func(uid string) *runBuilder {
			return run("r").version(3).retrying("t", 4, time.Now()).lastFrom(uid).readAt(time.Now())
		}
		for uid, want := range map[string]string{"here": done, "there": overtaken} {
			m, st := newMemory(retry(uid)), emptyStore()
			y := &eyes{memory: m, store: st, actor: "me", uid: "here"}
			l := newLauncher(Options{Name: "me", Namespace: "flows", Marks: kubernetesrun.Marks()}.withDefaults(), y, template{}, y)
			o := carriedOut(t, l, Action{Kind: Relaunch, Run: retry("here").FlowRun})
			if o.result != want || len(st.created) > 0 != (want == done) {
				t.Errorf("read again as submitted from %s: %s, want %s; created %q", uid, o.result, want, st.created)
			}
		}
	})
}

// A retry that is due elsewhere keeps no launcher here awake.
func TestRetriesAreRelaunchedWhereTheRunWasSubmitted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		at := time.Now()
		m := newMemory(
			run("ours").version(3).retrying("t", 4, at).lastFrom("here"),
			run("theirs").version(3).retrying("t", 4, at).lastFrom("there"),
			run("nobodys").version(3).retrying("t", 4, at),
		)
		b := start(t, m)
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(map[string]int{"ours": 1, "nobodys": 1}, jobsByRun(t, b.client)); diff != "" {
			t.Errorf("Jobs by run (-want +got):\n%s", diff)
		}
	})
}
