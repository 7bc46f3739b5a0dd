package trouble

import (
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Kind of trouble, as metrics, logs and notes spell it.
type Kind string

// The kinds, in the order in which the first that applies is found.
const (
	// Failed: a pod has failed, or its flow has beside containers that go on, or
	// Kubernetes has given the Job up.
	Failed Kind = "failed"
	// ImagePull: an image cannot be pulled without which the flow does not run.
	ImagePull Kind = "image_pull"
	// Container: such a container cannot be started, for lack of a Secret for example.
	Container Kind = "container"
	// CrashLoop: such a container ends again and again.
	CrashLoop Kind = "crash_loop"
	// Unstarted: the pod has its node and nothing of it runs: a volume cannot be
	// mounted, or an image is large.
	Unstarted Kind = "unstarted"
	// Unschedulable: no node takes the pod.
	Unschedulable Kind = "unschedulable"
	// Outlived: the flow has ended, or the run has finished, and its Job goes on.
	Outlived Kind = "outlived"
	// Sidecar: a container is in trouble that the flow can do without.
	Sidecar Kind = "sidecar"
	// NoPods: pods are not even created, because of a quota for example.
	NoPods Kind = "no_pods"
	// Cancelling: the run's flow does not react to having been cancelled.
	Cancelling Kind = "cancelling"
	// Cancelled: the run was cancelled and its Job is still there.
	Cancelled Kind = "cancelled"
	// JobGone: the Job was deleted, or has ended, while its run is Running.
	JobGone Kind = "job_gone"
	// Spent: the run was told the end, and its Job is to be removed.
	Spent Kind = "spent"
)

// Kinds are all of them, in order.
func Kinds() []Kind {
	return []Kind{Failed, ImagePull, Container, CrashLoop, Unstarted, Unschedulable, Outlived, Sidecar, NoPods, Cancelling, Cancelled, JobGone, Spent}
}

// Rules are what operators may choose.
type Rules struct {
	// Grace is how long a hindrance may last before it is trouble: images that
	// fail to be pulled are often pulled a moment later.
	Grace time.Duration
	// PendingFor is how long a run may wait for a node or a quota before it is
	// failed; 0 lets it wait for ever. Either way it is told after Grace.
	PendingFor time.Duration
	// CancelGrace is how long a flow may go on that was told to stop; 0 for ever.
	CancelGrace time.Duration
	// FinishedGrace is how long a flow may go on whose run has finished; 0 for ever.
	// Prefect calls runs failed whose flows go on all the same.
	FinishedGrace time.Duration
	// PodRetries leaves pods that failed to Kubernetes until it gives the Job up
	// (backoffLimit). The agent did not wait: a retried pod finds its run Running
	// and does nothing.
	PodRetries bool
}

// Finding is what is wrong with a Job.
type Finding struct {
	Kind Kind
	// Final: the run cannot go on. Otherwise it is only to be told.
	Final bool
	// From is when a launcher has to see to it, past or future.
	From time.Time
	// Message is for the run's author; of a final finding it is the state's.
	Message string
	// Pods are those in trouble, by name.
	Pods []string
	// Container is the one in those pods; empty when it is all of them or none.
	Container string
	// Unbegun is set of pods that failed, or are gone, when none is known to have
	// begun the flow. Whether one did, the run's state tells.
	Unbegun bool
}

// Judge finds what is wrong with a Job, given its run's pods, and what is to be
// done about it next. It reports false when nothing is, or when it was seen to.
func Judge(j *batchv1.Job, pods []*corev1.Pod, r Rules) (Finding, bool) {
	note := NoteOf(j)
	if j.DeletionTimestamp != nil || note.Done {
		return Finding{}, false
	}
	if note.Spent {
		return Finding{Kind: Spent, Final: true, From: note.Until}, true
	}
	pods = PodsOf(j, pods)
	f, found := failed(j, pods, note, r)
	if !found && !Finished(j) && (j.Spec.Suspend == nil || !*j.Spec.Suspend) {
		f, found = stuck(j, pods, r)
	}
	if !found {
		return Finding{}, false
	}
	if !f.Final && note.Told == f.Kind {
		if r.PendingFor <= 0 || f.Kind == Sidecar {
			return Finding{}, false
		}
		f.Final = true
		f.From = f.From.Add(r.PendingFor - r.Grace)
	}
	f.From = later(f.From, note.Until)
	return f, true
}

// Finished reports whether Kubernetes is done with a Job.
func Finished(j *batchv1.Job) bool {
	return condition(j, batchv1.JobComplete) != nil || condition(j, batchv1.JobFailed) != nil
}

// GivenUpAt is when Kubernetes gave a Job up; zero while it has not.
func GivenUpAt(j *batchv1.Job) time.Time {
	if c := condition(j, batchv1.JobFailed); c != nil {
		return c.LastTransitionTime.Time
	}
	return time.Time{}
}

func condition(j *batchv1.Job, t batchv1.JobConditionType) *batchv1.JobCondition {
	for i, c := range j.Status.Conditions {
		if c.Type == t && c.Status == corev1.ConditionTrue {
			return &j.Status.Conditions[i]
		}
	}
	return nil
}

// sentence joins what is known with colons.
func sentence(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ": ")
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// earlier takes zero for no time.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
