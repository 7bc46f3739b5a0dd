package trouble_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// The first is the agent's text about a pod killed by OOM, byte for byte (prefect1 §6).
func TestPodStory(t *testing.T) {
	for name, tc := range map[string]struct{ status, want string }{
		"killed for its memory": {
			`
  phase: Failed
  containerStatuses: [{name: flow, ready: false, restartCount: 0, image: i, imageID: x, state: {terminated: {exitCode: 137, message: boo, reason: OOMKilled, signal: 9}}}]
`,
			"Pod p failed.\n\tContainer 'flow' state: terminated\n\t\tExit Code:: 137\n\t\tMessage: boo\n\t\tReason: OOMKilled\n\t\tSignal: 9",
		},
		"evicted": {evicted, "Pod p failed.\n\tMessage: The node was low on resource: memory.\n\tReason: Evicted\n\tNo container statuses found for pod"},
		"containers in other states": {
			`
  phase: Failed
  containerStatuses:
    - {name: a, ready: false, restartCount: 0, image: i, imageID: x, state: {waiting: {reason: PodInitializing}}}
    - {name: b, ready: false, restartCount: 0, image: i, imageID: x}
    - {name: c, ready: false, restartCount: 0, image: i, imageID: x, state: {running: {}}}
`,
			"Pod p failed.\n\tContainer 'a' state: waiting\n\tContainer 'b' state: Not Found\n\tContainer 'c' state: running",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, trouble.PodStory(aPod(t, "p", tc.status))); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestEvents(t *testing.T) {
	e := corev1.Event{
		ObjectMeta: metav1.ObjectMeta{UID: "0123456789", CreationTimestamp: metav1.NewTime(at(1))},
		Reason:     "FailedScheduling", Message: "0/3 nodes", InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "p"},
	}
	if d := cmp.Diff("Event: 'FailedScheduling' on pod 'p'\n\tMessage: 0/3 nodes", trouble.EventLine(e)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	for i, set := range []func(){
		func() {},
		func() { e.FirstTimestamp = metav1.NewTime(at(2)) },
		func() { e.EventTime = metav1.NewMicroTime(at(3)) },
		func() { e.LastTimestamp = metav1.NewTime(at(4)) },
	} {
		set()
		if got := trouble.EventTime(e); !got.Equal(at(i + 1)) {
			t.Errorf("time %s, want %s", got, at(i+1))
		}
	}
}

func TestNoteRemembersEvents(t *testing.T) {
	event := func(uid string) corev1.Event { return corev1.Event{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}} }
	n := trouble.Note{By: "l", Until: noon, Tries: 2}.With(event("aaaaaaaa-1")).With(event("b")).With(event("b"))
	j := aJob(t, "")
	j.Annotations = map[string]string{trouble.Annotation: n.String()}
	back := trouble.NoteOf(j)
	if d := cmp.Diff(trouble.Note{By: "l", Until: noon, Tries: 2, Events: []string{"aaaaaaaa", "b"}}, back); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if !back.Knows(event("aaaaaaaa-1")) || back.Knows(event("c")) {
		t.Error("it does not know what was told")
	}
	for i := range 200 {
		back = back.With(event(time.Duration(i).String()))
	}
	if len(back.Events) != 64 || !back.Knows(event("199ns")) {
		t.Errorf("%d events are remembered, want the last 64", len(back.Events))
	}
}

func TestNoteRemembersStoriesAndPods(t *testing.T) {
	j := aJob(t, "")
	j.Annotations = map[string]string{trouble.Annotation: trouble.Note{}.WithStory(trouble.Failed, "a").WithPast(aPod(t, "p", running)).String()}
	n := trouble.NoteOf(j)
	if !n.KnowsStory(trouble.Failed, "a") || n.KnowsStory(trouble.Failed, "b") || n.KnowsStory(trouble.ImagePull, "a") {
		t.Errorf("stories %q, want that of a's failure", n.Stories)
	}
	if !n.IsPast(aPod(t, "p", running)) || n.IsPast(aPod(t, "q", running)) {
		t.Errorf("past are %q, want p", n.Past)
	}
}

func TestNoteRemembersPodsThatAreGone(t *testing.T) {
	n := trouble.Note{}.WithPast(aPod(t, "p", running)).WithGone(3)
	if d := cmp.Diff([]string{"uid of p", "gone 2", "gone 3"}, n.WithGone(2).Past); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if got := len(n.WithGone(1000).Past); got != 64 {
		t.Errorf("%d pods are remembered, want 64", got)
	}
}

// A Job that is given up terminates until Kubernetes has ended it.
func TestTerminating(t *testing.T) {
	const complete = `status: {conditions: [{type: Complete, status: "True"}]}`
	for name, tc := range map[string]struct {
		job, note, pod string
		deleted        bool
		want           bool
	}{
		"at work":                       {active, "", running, false, false},
		"told of its trouble":           {active, `{"told":"no_pods","by":"l"}`, "", false, false},
		"kept, and to be ended":         {active, `{"done":true}`, running, false, true},
		"to be removed":                 {active, `{"spent":true}`, running, false, true},
		"to be removed, its pod failed": {active, `{"spent":true}`, oomKilled, false, true},
		"only a sidecar goes on":        {active, `{"spent":true}`, sidecarLives(endedWell), false, false},
		"kept, and has ended":           {complete, `{"done":true}`, "", false, false},
		"to go, and has ended":          {complete, `{"spent":true}`, "", false, false},
		"deleted":                       {active, "", "", true, true},
		"ended and deleted":             {complete, "", "", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			j := aJob(t, tc.job)
			j.Annotations = map[string]string{trouble.Annotation: tc.note}
			if tc.deleted {
				j.DeletionTimestamp = &j.CreationTimestamp
			}
			var pods []*corev1.Pod
			if tc.pod != "" {
				pods = []*corev1.Pod{aPod(t, "p", tc.pod)}
			}
			if got, slim := trouble.Terminating(j, pods), trouble.Terminating(trouble.SlimJob(j, kubernetesrun.Marks()), pods); got != tc.want || slim != tc.want {
				t.Errorf("%v, and as watches keep it %v, want %v", got, slim, tc.want)
			}
		})
	}
}

func TestPodsOf(t *testing.T) {
	j, p := aJob(t, ""), aPod(t, "p", running)
	again := j.DeepCopy()
	again.UID = "of the Job that was created again by the same name"
	orphan, older := aPod(t, "orphan", running), aPod(t, "z", running)
	orphan.OwnerReferences = nil
	older.CreationTimestamp = metav1.NewTime(at(-5))
	names := func(j *batchv1.Job, pods ...*corev1.Pod) (names []string) {
		for _, p := range trouble.PodsOf(j, pods) {
			names = append(names, p.Name)
		}
		return names
	}
	if d := cmp.Diff([]string{"z", "p"}, names(j, p, orphan, trouble.SlimPod(older, kubernetesrun.Marks()))); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if got := names(again, p, orphan, trouble.SlimPod(older, kubernetesrun.Marks())); got != nil {
		t.Errorf("a Job of the same name has %q", got)
	}
}
