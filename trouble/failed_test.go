package trouble_test

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// A pod that was rejected or removed before its flow began proves nothing about the flow;
// a pod that failed by itself does.
func TestFailedBeforeTheFlowBegan(t *testing.T) {
	const (
		failed  = "\n  phase: Failed\n"
		unknown = `state: {terminated: {exitCode: 137, reason: ContainerStatusUnknown, message: The container could not be located when the pod was terminated}}`
		given   = `, conditions: [{type: Failed, status: "True", reason: `
	)
	statuses := func(of string) string { return "  containerStatuses: [" + container("flow", of) + "]\n" }
	for name, tc := range map[string]struct {
		job  string
		pods []string
		want bool
	}{
		"no resources on its node":             {active, []string{failed + "  reason: OutOfcpu\n"}, true},
		"a device that is gone":                {active, []string{failed + "  reason: UnexpectedAdmissionError\n" + statuses(waitsOwn)}, true},
		"its node was shut down":               {active, []string{failed + "  reason: NodeShutdown\n"}, true},
		"evicted while its image was pulled":   {active, []string{failed + "  reason: Evicted\n" + statuses(noImage)}, true},
		"preempted before its turn":            {active, []string{failed + "  conditions: [{type: DisruptionTarget, status: \"True\"}]\n" + statuses(unknown)}, true},
		"preempted, or not":                    {active, []string{failed + "  conditions: [{type: DisruptionTarget, status: \"False\"}]\n"}, false},
		"evicted while it ran":                 {active, []string{failed + "  reason: Evicted\n" + statuses(endedBadly)}, false},
		"evicted after a restart":              {active, []string{failed + "  reason: Evicted\n" + statuses(crashes)}, false},
		"failed by itself before its flow":     {active, []string{failed + "  initContainerStatuses: [" + container("setup", endedBadly) + "]\n" + statuses(waitsOwn)}, false},
		"past its own deadline":                {active, []string{failed + "  reason: DeadlineExceeded\n"}, false},
		"one was evicted, another failed":      {active, []string{failed + "  reason: Evicted\n", oomKilled}, false},
		"one failed, another was evicted":      {active, []string{oomKilled, failed + "  reason: Evicted\n"}, false},
		"gone":                                 {"status: {failed: 1}", nil, true},
		"given up, all of them gone":           {"status: {failed: 1" + given + "BackoffLimitExceeded}]}", nil, true},
		"given up, one that began is there":    {"status: {failed: 1" + given + "BackoffLimitExceeded}]}", []string{"\n  phase: Succeeded\n" + statuses(endedWell)}, false},
		"stopped by its deadline, and gone":    {"status: {failed: 1" + given + "DeadlineExceeded}]}", nil, false},
		"failed on purpose by a policy":        {"status: {failed: 1" + given + "PodFailurePolicy}]}", nil, false},
		"failed beside a sidecar that goes on": {active, []string{"\n  phase: Running\n" + statuses(endedBadly)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var pods, slim []*corev1.Pod
			for i, status := range tc.pods {
				p := aPod(t, string(rune('p'+i)), status)
				pods, slim = append(pods, p), append(slim, trouble.SlimPod(p, kubernetesrun.Marks()))
			}
			j := aJob(t, tc.job)
			for _, judged := range []struct {
				job  *batchv1.Job
				pods []*corev1.Pod
			}{{j, pods}, {trouble.SlimJob(j, kubernetesrun.Marks()), slim}} {
				f, found := trouble.Judge(judged.job, judged.pods, rules())
				if !found || f.Kind != trouble.Failed || f.Unbegun != tc.want {
					t.Errorf("found %v %+v, want a failure before the flow began: %v", found, f, tc.want)
				}
			}
		})
	}
}

// Kubernetes counts a pod as failed as soon as it is deleted. Only its end tells more.
func TestPodThatIsBeingDeleted(t *testing.T) {
	j := aJob(t, "status: {failed: 1, terminating: 1}")
	p := beside(t, "ordinary", up, up)
	p.DeletionTimestamp = &p.CreationTimestamp
	if f := judgedAlike(t, j, p, rules()); f.Kind != "" {
		t.Errorf("found %+v while it ends", f)
	}
	p.Status.Phase = corev1.PodFailed
	if f := judgedAlike(t, j, p, rules()); f.Kind != trouble.Failed || len(f.Pods) != 1 {
		t.Errorf("found %+v when it has ended", f)
	}
	p = beside(t, "ordinary", up, up)
	if f := judgedAlike(t, j, p, rules()); f.Kind != trouble.Failed || len(f.Pods) != 0 || !f.Unbegun {
		t.Errorf("found %+v when it is gone, and another is there", f)
	}
}
