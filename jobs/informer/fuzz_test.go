package informer

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// Whatever names, labels and messages the API server has, what is packed comes out as
// judgements would have it of the whole object.
func FuzzPacked(f *testing.F) {
	f.Add("job", "run", `{"done":true}`, "BackoffLimitExceeded", "it has failed", int32(3), int64(1_790_000_000), true)
	f.Add("", "", "", "", "\x00", int32(-1), int64(-1), false)
	f.Add("ä", "\xff", "\n", "Evicted", "🙂", int32(0), int64(0), true)
	marks := kubernetesrun.Marks()
	i := New("flows", marks, Client{}, Hooks{})
	f.Fuzz(func(t *testing.T, name, run, note, reason, message string, count int32, seconds int64, failed bool) {
		if len(name) > 253 || len(run) > 63 {
			return // Kubernetes has none of these
		}
		const century = 100 * 365 * 24 * 3600
		at := metav1.NewTime(time.Unix(seconds%century, 0))
		condition := batchv1.JobCondition{Type: batchv1.JobComplete, Status: corev1.ConditionTrue, Reason: reason, Message: message, LastTransitionTime: at}
		if failed {
			condition.Type = batchv1.JobFailed
		}
		meta := metav1.ObjectMeta{Name: name, Namespace: "flows", CreationTimestamp: at, Labels: map[string]string{marks.Run: run}, Annotations: map[string]string{trouble.Annotation: note}}
		j := &batchv1.Job{ObjectMeta: meta, Status: batchv1.JobStatus{StartTime: &at, Active: count, Failed: count, Conditions: []batchv1.JobCondition{condition}}}
		e, err := i.jobs.entryOf(j.DeepCopy())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(trouble.SlimJob(j, marks), e.object()); d != "" || e.nameIs() != name || e.runIs() != run {
			t.Fatalf("the Job %q of %q (-want +got):\n%s", e.nameIs(), e.runIs(), d)
		}
		p := &corev1.Pod{ObjectMeta: meta, Status: corev1.PodStatus{Phase: corev1.PodSucceeded, Reason: reason, Message: message, StartTime: &at}}
		if failed {
			p.Status.Phase = corev1.PodFailed
		}
		packed, err := i.pods.entryOf(p.DeepCopy())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(trouble.SlimPod(p, marks), packed.object()); d != "" {
			t.Fatalf("the pod (-want +got):\n%s", d)
		}
	})
}
