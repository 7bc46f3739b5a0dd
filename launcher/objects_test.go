package launcher

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
)

// jobOfRun is a Job of the run's first attempt that has been there for long.
func jobOfRun(id string, change ...func(*batchv1.Job)) *batchv1.Job {
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: "job-" + id, Namespace: "flows", UID: types.UID("uid of job-" + id), CreationTimestamp: metav1.NewTime(time.Now().Add(-time.Hour)),
			Labels: map[string]string{kubernetesrun.LabelFlowRunID: id, job.LabelAttempt: "v1"},
		},
		Spec:   batchv1.JobSpec{TTLSecondsAfterFinished: new(int32(600))},
		Status: batchv1.JobStatus{Active: 1},
	}
	for _, c := range change {
		c(j)
	}
	return j
}

func givenUp(j *batchv1.Job) {
	j.Status = batchv1.JobStatus{Failed: 1, Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded"}}}
}

func completed(j *batchv1.Job) {
	j.Status = batchv1.JobStatus{Succeeded: 1, Conditions: []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}}
}

func podOf(id string, status corev1.PodStatus) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "pod-" + id, Namespace: "flows", UID: types.UID("uid of pod-" + id), CreationTimestamp: metav1.Now(),
			Labels: map[string]string{kubernetesrun.LabelFlowRunID: id}, OwnerReferences: []metav1.OwnerReference{{Kind: "Job", Name: "job-" + id, UID: types.UID("uid of job-" + id), Controller: new(true)}},
		},
		Spec:   corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "flow"}}},
		Status: status,
	}
}

func oomKilled() corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{
		Name: "flow", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}},
	}}}
}

func cannotPull() corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
		Name: "flow", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: `Back-off pulling image "nope"`}},
	}}}
}

func noNode() corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/3 nodes are available",
		LastTransitionTime: metav1.Now(),
	}}}
}

// besideProxy is a pod whose flow has a sidecar beside it.
func besideProxy(flow, proxy corev1.ContainerStatus) *corev1.Pod {
	flow.Name, proxy.Name = "flow", "proxy"
	p := podOf("r", corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{flow, proxy}})
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "proxy"})
	return p
}

func lives() corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}}
}

func died(code int32) corev1.ContainerStatus {
	reason := "Completed"
	if code == 137 {
		reason = "OOMKilled"
	}
	return corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, FinishedAt: metav1.Now()}}}
}

func crashing() corev1.ContainerStatus {
	return corev1.ContainerStatus{
		State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 5m0s"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, FinishedAt: metav1.Now()}},
	}
}

func running() corev1.PodStatus {
	s := lives()
	s.Name = "flow"
	return corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{s}}
}

const notHeeded = "The flow did not end in 10m0s after it was cancelled, so its Job job-r is stopped"

// eventOf is an event of an object of that kind and name.
func eventOf(kind, name, reason, message string) *corev1.Event {
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: name + "." + reason, Namespace: "flows", UID: types.UID(reason + " of " + name)},
		InvolvedObject: corev1.ObjectReference{Kind: kind, Name: name, UID: types.UID("uid of " + name)},
		Reason:         reason, Message: message, Type: corev1.EventTypeWarning, LastTimestamp: metav1.Now(),
	}
}

func add(t *testing.T, client *fake.Clientset, objects ...any) {
	t.Helper()
	for _, o := range objects {
		var err error
		switch o := o.(type) {
		case *batchv1.Job:
			_, err = client.BatchV1().Jobs("flows").Create(t.Context(), o, metav1.CreateOptions{})
		case *corev1.Pod:
			_, err = client.CoreV1().Pods("flows").Create(t.Context(), o, metav1.CreateOptions{})
		case *corev1.Event:
			_, err = client.CoreV1().Events("flows").Create(t.Context(), o, metav1.CreateOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
