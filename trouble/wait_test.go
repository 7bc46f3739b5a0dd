package trouble_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/trouble"
)

func TestWaits(t *testing.T) {
	const unschedulable = `
  phase: Pending
  conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, message: Insufficient memory, lastTransitionTime: "2026-11-23T12:00:10Z"}]`
	noted := func(n trouble.Note) func(*batchv1.Job) {
		return func(j *batchv1.Job) { j.Annotations = map[string]string{trouble.Annotation: n.String()} }
	}
	told := func(k trouble.Kind) func(*batchv1.Job) { return noted(trouble.Note{Told: k, Why: "what it was told"}) }
	noNode := trouble.Wait{Kind: trouble.Unschedulable, Since: at(10), Message: "Kubernetes Error: pod p cannot be scheduled: Insufficient memory"}
	for name, tc := range map[string]struct {
		job     string
		pod     string // its status
		change  func(*batchv1.Job)
		pending time.Duration
		want    trouble.Wait
	}{
		"no node":                         {pod: unschedulable, want: noNode},
		"no node, the run was told":       {pod: unschedulable, change: told(trouble.Unschedulable), want: noNode},
		"no node, and there is a limit":   {pod: unschedulable, pending: time.Hour, want: trouble.Wait{Kind: noNode.Kind, Since: noNode.Since, Message: noNode.Message, Until: at(3610)}},
		"no pod":                          {want: trouble.Wait{Kind: trouble.NoPods, Since: at(0), Message: "Kubernetes Error: no pod is created for Job j"}},
		"no pod, the run was told why":    {change: told(trouble.NoPods), want: trouble.Wait{Kind: trouble.NoPods, Since: at(0), Message: "what it was told"}},
		"no pod, it was told of a node":   {change: told(trouble.Unschedulable), want: trouble.Wait{Kind: trouble.NoPods, Since: at(0), Message: "Kubernetes Error: no pod is created for Job j"}},
		"a volume, the run was told":      {pod: "\n  phase: Pending\n  startTime: \"2026-11-23T12:00:05Z\"", change: told(trouble.Unstarted), want: trouble.Wait{Kind: trouble.Unstarted, Since: at(5), Message: "what it was told"}},
		"it runs":                         {job: "status: {active: 1}", pod: "\n  phase: Running"},
		"an image, of which the run dies": {pod: waits("ImagePullBackOff", "no")},
		"its pod has failed":              {pod: "\n  phase: Failed"},
		"it is suspended":                 {job: "spec: {suspend: true}"},
		"it is over":                      {job: `status: {conditions: [{type: Failed, status: "True"}]}`},
		"a launcher is done with it":      {change: noted(trouble.Note{Done: true})},
		"a launcher is to remove it":      {change: noted(trouble.Note{Spent: true})},
	} {
		t.Run(name, func(t *testing.T) {
			j := aJob(t, tc.job)
			if tc.change != nil {
				tc.change(j)
			}
			var pods []*corev1.Pod
			if tc.pod != "" {
				pods = append(pods, trouble.SlimPod(aPod(t, "p", tc.pod), kubernetesrun.Marks()))
			}
			got, has := trouble.Waits(trouble.SlimJob(j, kubernetesrun.Marks()), pods, trouble.Rules{Grace: time.Minute, PendingFor: tc.pending})
			if d := cmp.Diff(tc.want, got); d != "" || has != (tc.want.Kind != "") {
				t.Errorf("waits %v: -want +got:\n%s", has, d)
			}
		})
	}
}
