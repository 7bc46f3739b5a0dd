package trouble

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Anybody who may write Jobs may write the note about their trouble. What is read can be
// written, comes back, and remembers what is added within its bounds.
func FuzzNote(f *testing.F) {
	f.Add(`{"told":"image","why":"x","by":"l","until":"2026-11-28T11:32:13Z","tries":3,"events":["12345678"],"stories":["failed 1"],"past":["gone 1"]}`, "12345678-90", 3)
	f.Add(`{"done":true,"until":"9999-12-31T23:59:59.999-23:59"}`, "", -1)
	f.Add(`{"tries":1e400}`, "ä", 1<<40)
	f.Add(`{"past":null,"events":[1]}`, "\x00", 100)
	f.Fuzz(func(t *testing.T, text, uid string, failed int) {
		noted := func(text string) *batchv1.Job {
			return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{Annotation: text}}}
		}
		n := NoteOf(noted(text))
		written := n.String()
		if written == "" {
			t.Fatalf("%+v cannot be written", n)
		}
		if d := cmp.Diff(n, NoteOf(noted(written)), cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("-read +read again:\n%s", d)
		}
		event, pod := corev1.Event{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}}, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}}
		more := n.With(event).WithStory(Failed, types.UID(uid)).WithPast(pod)
		if !more.Knows(event) || !more.KnowsStory(Failed, types.UID(uid)) || !more.IsPast(pod) {
			t.Fatalf("%+v does not know %q", more, uid)
		}
		more = more.WithGone(failed)
		for _, of := range [][2][]string{{n.Events, more.Events}, {n.Stories, more.Stories}, {n.Past, more.Past}} {
			if len(of[1]) > max(maxTold, len(of[0])) {
				t.Fatalf("%d grow to %d", len(of[0]), len(of[1]))
			}
		}
		if d := cmp.Diff(n, NoteOf(noted(text))); d != "" {
			t.Fatalf("adding has changed the note that was read:\n%s", d)
		}
	})
}
