package trouble

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/job"
)

// flow is the container that executes the run, with its status.
type flow struct {
	corev1.Container
	status corev1.ContainerStatus
	pod    *corev1.Pod
}

// flowOf finds it by the variable with the run's id, because an injected sidecar may be in
// front of it. Otherwise it is the first, where a Job is rendered into (prefect1 §4.2).
func flowOf(p *corev1.Pod) flow {
	f := flow{pod: p}
	if len(p.Spec.Containers) == 0 {
		return f
	}
	i := slices.IndexFunc(p.Spec.Containers, func(c corev1.Container) bool {
		return slices.ContainsFunc(c.Env, job.TellsRun)
	})
	f.Container = p.Spec.Containers[max(i, 0)]
	for _, s := range p.Status.ContainerStatuses {
		if s.Name == f.Name {
			f.status = s
		}
	}
	return f
}

// FlowContainer names the container of a pod that executes its run.
func FlowContainer(p *corev1.Pod) string { return flowOf(p).Name }

// FlowBegan is when a pod's flow began; zero if the flow does not run.
func FlowBegan(p *corev1.Pod) time.Time {
	if r := flowOf(p).status.State.Running; r != nil {
		return r.StartedAt.Time
	}
	return time.Time{}
}

// runs reports whether it runs now. SlimPod drops the running containers of a running pod.
func (f flow) runs() bool {
	return f.status.State.Running != nil || f.status.Name == "" && f.pod.Status.Phase == corev1.PodRunning
}

// ended tells how it ended for good; nil if it has not, or if the kubelet starts it again.
func (f flow) ended() *corev1.ContainerStateTerminated {
	if t := f.status.State.Terminated; t != nil && !f.startsAgain(t.ExitCode) {
		return t
	}
	return nil
}

// startsAgain reports whether the kubelet starts it again when it exits like this.
func (f flow) startsAgain(code int32) bool {
	for _, rule := range f.RestartPolicyRules {
		if on := rule.ExitCodes; on != nil && slices.Contains(on.Values, code) == (on.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
			return true
		}
	}
	policy := f.pod.Spec.RestartPolicy
	if f.RestartPolicy != nil {
		policy = corev1.RestartPolicy(*f.RestartPolicy)
	}
	return policy == corev1.RestartPolicyAlways || policy == corev1.RestartPolicyOnFailure && code != 0
}

// hasBegun reports whether it has ever run, even before a restart. The kubelet writes an
// end for every container of a pod that it ends, even for containers that never ran.
func (f flow) hasBegun() bool {
	t := f.status.State.Terminated
	return f.runs() || f.status.LastTerminationState.Terminated != nil || t != nil && t.Reason != "ContainerStatusUnknown"
}

// isOver reports whether no container of a pod runs any more.
func isOver(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// Executes reports whether a pod executes its run, or may yet: neither the pod nor the
// flow's container has ended for good.
func Executes(p *corev1.Pod) bool { return !isOver(p) && flowOf(p).ended() == nil }

// isDead reports whether the flow of a pod failed beside containers that keep the pod
// alive. A pod that is being deleted is about to end, so it does not count.
func isDead(p *corev1.Pod) bool {
	if isOver(p) || p.DeletionTimestamp != nil {
		return false
	}
	t := flowOf(p).ended()
	return t != nil && t.ExitCode != 0
}

// isUnbegun reports whether a pod failed before it began its flow and not by itself: the
// node rejected it or was shut down, or another pod needed the place. When a pod fails by
// itself, in an init container for example, Kubernetes gives no reason.
func isUnbegun(p *corev1.Pod) bool {
	if p.Status.Phase != corev1.PodFailed || flowOf(p).hasBegun() {
		return false
	}
	return p.Status.Reason != "" && p.Status.Reason != "DeadlineExceeded" ||
		slices.ContainsFunc(p.Status.Conditions, isDisruption)
}

func isDisruption(c corev1.PodCondition) bool {
	return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue
}
