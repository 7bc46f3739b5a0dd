package launcher

import (
	"testing"
	"testing/synctest"
	"time"

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
			l := newLauncher(Options{Name: "me", Namespace: "flows"}.withDefaults(), y, template{}, y)
			o := l.perform(t.Context(), &errand{Action: Action{Kind: tc.kind, Run: tc.run.readAt(time.Now()).FlowRun}})
			if launched := len(st.created) > 0; o.result != tc.want || launched != (tc.want == done) {
				t.Errorf("%s: %s, want %s; created %q, wrote %q", tc.name, o.result, tc.want, st.created, m.writes)
			}
			if o.result == later && !o.hold.After(time.Now()) {
				t.Errorf("%s: it is to be looked at again at once", tc.name)
			}
		}
	})
}
