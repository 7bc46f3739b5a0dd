package job_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

func noted(text string) *batchv1.Job {
	return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{job.AnnotationLaunch: text}}}
}

func TestLaunchIsNotedOnTheJob(t *testing.T) {
	noon := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	run := prefect.FlowRun{Name: "radiant-otter", FlowName: "etl", Due: noon, Place: prefect.Place{Pool: "k8s", Queue: "high"}}
	was := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "j", Annotations: map[string]string{"team": "a"}}}
	is := job.LaunchOf(run, noon.Add(1_234_567*time.Microsecond), noon.Add(2*time.Second)).On(was)
	if diff := cmp.Diff(map[string]string{"team": "a"}, was.Annotations); diff != "" {
		t.Errorf("the rendered Job has changed:\n%s", diff)
	}
	if is.Annotations["team"] != "a" || is.Name != "j" {
		t.Errorf("the Job has lost what it had: %+v", is.ObjectMeta)
	}
	got, ok := job.NotedLaunch(is)
	want := job.Launch{Due: noon, Claimed: noon.Add(1234 * time.Millisecond), Created: noon.Add(2 * time.Second), Run: "radiant-otter", Flow: "etl", Pool: "k8s", Queue: "high"}
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("read back (-want +got), %v:\n%s", ok, diff)
	}
	if diff := cmp.Diff(run.Place, got.Place()); diff != "" {
		t.Errorf("place (-want +got):\n%s", diff)
	}
}

// What people choose, or anybody writes on a Job, does not fill memory.
func TestNoteOfALaunchIsBounded(t *testing.T) {
	long := strings.Repeat("ä", 5000)
	l, ok := job.NotedLaunch(job.LaunchOf(prefect.FlowRun{Name: long, FlowName: long}, time.Time{}, time.Time{}).On(&batchv1.Job{}))
	if !ok || len(l.Run) > 130 || len(l.Flow) > 130 {
		t.Errorf("names of %d and %d bytes, %v", len(l.Run), len(l.Flow), ok)
	}
	many := prefect.FlowRun{Place: prefect.Place{Labels: strings.Split(long, "ä")}}
	many.Place.Labels[0] = long
	if j := job.LaunchOf(many, time.Time{}, time.Time{}).On(&batchv1.Job{}); len(j.Annotations) > 0 {
		t.Errorf("a note of %d bytes is written", len(j.Annotations[job.AnnotationLaunch]))
	}
	for name, text := range map[string]string{"none": "", "no JSON": "x", "another type": `{"due": 1}`, "too long": `{"run": "` + long + `"}`} {
		if l, ok := job.NotedLaunch(noted(text)); ok || l.Run != "" {
			t.Errorf("%s: read %+v", name, l)
		}
	}
	if l, _ := job.NotedLaunch(noted(`{"run": "` + long[:2000] + `"}`)); len(l.Run) > 130 {
		t.Errorf("a name of %d bytes is read", len(l.Run))
	}
}

// testdata/persisted holds each form that a release wrote (docs/compatibility.md).
func TestPersistedLaunch(t *testing.T) {
	text, err := os.ReadFile("testdata/persisted/launch.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded []json.RawMessage
	if err := json.Unmarshal(text, &recorded); err != nil || len(recorded) == 0 {
		t.Fatalf("%d notes: %v", len(recorded), err)
	}
	for _, was := range recorded {
		l, ok := job.NotedLaunch(noted(string(was)))
		is, err := json.Marshal(l)
		if diff := cmp.Diff(string(was), string(is)); diff != "" || !ok || err != nil {
			t.Errorf("-recorded +written again, %v, %v:\n%s", ok, err, diff)
		}
	}
}
