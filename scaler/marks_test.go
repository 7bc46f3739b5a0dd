package scaler

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// Jobs of two Prefects live in one namespace, and each connection knows its own only.
func TestJobsOfTwoPrefectsDoNotMix(t *testing.T) {
	const label = "prefect.io/flow-run-id"
	theirs := kubeJob("job-b", "r2", "v1")
	theirs.Labels[label] = theirs.Labels[kubernetesrun.LabelFlowRunID]
	delete(theirs.Labels, kubernetesrun.LabelFlowRunID)
	failed := kubePod("job-b", "r2", func(s *corev1.PodStatus) { s.Phase = corev1.PodFailed })
	failed.Labels, failed.CreationTimestamp = map[string]string{label: "r2"}, metav1.Time{}

	labelled := &fakeSource{claim: []prefect.ClaimedRun{claimed("r1", "job-a", "v1"), claimed("r2", "job-b", "v1")}}
	pools := &fakeSource{}
	for _, run := range []string{"r1", "r2"} {
		c := claimed(run, "job", "v1")
		c.Place = prefect.Place{Pool: "k8s", Queue: "default"}
		pools.claim = append(pools.claim, c)
	}
	pools.supervision.Troubled = []prefect.JobRun{{ID: "r2", Place: prefect.Place{Pool: "k8s", Queue: "default"}, Phase: prefect.Claimed}}
	labelled.supervision.Troubled = []prefect.JobRun{jobRun("r2", prefect.Claimed)}
	o := withJobs(labelled, fakeKube(kubeJob("job-a", "r1", "v1"), theirs, failed))
	o.Connections["pools"] = Connection{Source: pools, Places: ByWorkPools, JobNamespaces: []string{"flows"}, Marks: job.Marks{Run: label}}
	inBubble(t, o, func(t *testing.T, s *Server) {
		pass(10 * time.Second)
		want := map[string]struct{ lacks, troubled string }{"default": {"r2", ""}, "pools": {"r1", "r2"}}
		for name, w := range want {
			snap := s.service.pollers[name].current.Load()
			var lacks, troubled string
			for _, c := range snap.WithoutJob {
				lacks += c.ID
			}
			for _, j := range snap.Troubled {
				troubled += j.Run
			}
			if lacks != w.lacks || troubled != w.troubled {
				t.Errorf("%s: %q lack their Job and %q is in trouble, want %+v", name, lacks, troubled, w)
			}
		}
	})
}
