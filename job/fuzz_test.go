package job_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/job"
)

// Anybody who may write Jobs may write the note of a launch. One that is read is short, and
// is the same when it is written and read once more.
func FuzzLaunchNote(f *testing.F) {
	f.Add(`{"due":"2026-11-28T11:32:13.491Z","claimed":"2026-11-28T11:32:14Z","run":"a","flow":"b","pool":"p","queue":"q"}`)
	f.Add(`{"due":"0000-01-01T00:00:00+23:59","labels":["a","b"],"run":"` + strings.Repeat("ä", 300) + `"}`)
	f.Add(`{"due":"9999-12-31T23:59:59-23:59","run":"\ud800"}`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, text string) {
		j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{job.AnnotationLaunch: text, "other": "thing"}}}
		l, ok := job.NotedLaunch(j)
		if !ok {
			if !cmp.Equal(l, job.Launch{}) {
				t.Fatalf("an unreadable note is %+v", l)
			}
			return
		}
		written, err := json.Marshal(l)
		if err != nil {
			t.Fatalf("%+v cannot be written: %v", l, err)
		}
		noted := l.On(&batchv1.Job{})
		again, ok := job.NotedLaunch(noted)
		if !ok {
			if len(noted.Annotations) == 0 && len(written) > len(text) {
				return // escapes have made it too long
			}
			t.Fatalf("%+v does not come back", l)
		}
		if d := cmp.Diff(l, again, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("-read +read again:\n%s", d)
		}
	})
}
