package trouble_test

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// Every case is judged by the pod as it is and as a watch keeps it.
func TestCanTake(t *testing.T) {
	pod := func(phase corev1.PodPhase, change ...func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{Kind: "Job", Name: "job-1", UID: "1", Controller: new(true)}}},
			Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "flow"}, {Name: "proxy"}}},
			Status:     corev1.PodStatus{Phase: phase},
		}
		for _, c := range change {
			c(p)
		}
		return p
	}
	ended := func(container string, code int32) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
				Name: container, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}},
			})
		}
	}
	runs := func(container string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
				Name: container, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
			})
		}
	}
	restarted := func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyOnFailure }
	another := func(p *corev1.Pod) { p.OwnerReferences[0].UID = "0" }
	for name, tc := range map[string]struct {
		status batchv1.JobStatus
		pods   []*corev1.Pod
		want   bool
	}{
		"no pod yet":                      {batchv1.JobStatus{}, nil, true},
		"its pod waits":                   {batchv1.JobStatus{}, []*corev1.Pod{pod(corev1.PodPending)}, true},
		"its pod runs":                    {batchv1.JobStatus{}, []*corev1.Pod{pod(corev1.PodRunning, runs("flow"))}, true},
		"complete":                        {batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}}, nil, false},
		"its pod has succeeded":           {batchv1.JobStatus{}, []*corev1.Pod{pod(corev1.PodSucceeded)}, false},
		"its pod has succeeded and gone":  {batchv1.JobStatus{Succeeded: 1}, nil, false},
		"its pod has failed":              {batchv1.JobStatus{}, []*corev1.Pod{pod(corev1.PodFailed, ended("flow", 1))}, true},
		"a sidecar lives on":              {batchv1.JobStatus{Active: 1}, []*corev1.Pod{pod(corev1.PodRunning, ended("flow", 0), runs("proxy"))}, false},
		"a sidecar lives on, flow failed": {batchv1.JobStatus{Active: 1}, []*corev1.Pod{pod(corev1.PodRunning, ended("flow", 1), runs("proxy"))}, false},
		"the flow is started anew":        {batchv1.JobStatus{Active: 1}, []*corev1.Pod{pod(corev1.PodRunning, ended("flow", 1), runs("proxy"), restarted)}, true},
		"the sidecar ended first":         {batchv1.JobStatus{Active: 1}, []*corev1.Pod{pod(corev1.PodRunning, runs("flow"), ended("proxy", 0))}, true},
		"one is over, another waits":      {batchv1.JobStatus{Active: 1}, []*corev1.Pod{pod(corev1.PodRunning, ended("flow", 0)), pod(corev1.PodPending)}, true},
		"another Job's pod is over":       {batchv1.JobStatus{}, []*corev1.Pod{pod(corev1.PodSucceeded, another)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "job-1", UID: "1"}, Status: tc.status}
			if got := trouble.CanTake(j, tc.pods); got != tc.want {
				t.Errorf("CanTake = %v, want %v", got, tc.want)
			}
			var slim []*corev1.Pod
			for _, p := range tc.pods {
				slim = append(slim, trouble.SlimPod(p, kubernetesrun.Marks()))
			}
			if got := trouble.CanTake(trouble.SlimJob(j, kubernetesrun.Marks()), slim); got != tc.want {
				t.Errorf("as the watch keeps it: CanTake = %v, want %v", got, tc.want)
			}
		})
	}
}

// A Job that may make no other pod cannot take its run, though the Job controller has not
// found so yet. With a policy for failed pods only that knows.
func TestCanTakeAfterFailures(t *testing.T) {
	for name, tc := range map[string]struct {
		limit  *int32
		policy *batchv1.PodFailurePolicy
		failed int
		status int32
		want   bool
	}{
		"none may fail and none has":  {new(int32(0)), nil, 0, 0, true},
		"none may fail and one has":   {new(int32(0)), nil, 1, 0, false},
		"it has, and its pod is gone": {new(int32(0)), nil, 0, 1, false},
		"one may fail and has":        {new(int32(1)), nil, 1, 1, true},
		"one may fail and two have":   {new(int32(1)), nil, 2, 1, false},
		"a policy may forgive":        {new(int32(0)), &batchv1.PodFailurePolicy{}, 1, 0, true},
		"nobody knows the limit":      {nil, nil, 1, 1, true},
	} {
		j := &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Name: "job-1", UID: "1"},
			Spec:       batchv1.JobSpec{BackoffLimit: tc.limit, PodFailurePolicy: tc.policy}, Status: batchv1.JobStatus{Failed: tc.status},
		}
		var pods []*corev1.Pod
		for range tc.failed {
			pods = append(pods, &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{Kind: "Job", Name: "job-1", UID: "1", Controller: new(true)}}},
				Status:     corev1.PodStatus{Phase: corev1.PodFailed},
			})
		}
		if got := trouble.CanTake(j, pods); got != tc.want {
			t.Errorf("%s: CanTake = %v, want %v", name, got, tc.want)
		}
		if got := trouble.CanTake(trouble.SlimJob(j, kubernetesrun.Marks()), pods); got != tc.want {
			t.Errorf("%s, as the watch keeps it: CanTake = %v, want %v", name, got, tc.want)
		}
	}
}
