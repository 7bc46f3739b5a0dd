package trouble

import (
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/job"
)

// Kind of trouble, as metrics, logs and notes spell it.
type Kind string

// The kinds, in the order of the judgement.
const (
	// Failed: a pod failed, the flow failed beside containers that go on, or Kubernetes
	// gave the Job up.
	Failed Kind = "failed"
	// ImagePull: an image that the flow needs cannot be pulled.
	ImagePull Kind = "image_pull"
	// Container: a container that the flow needs cannot start, without a Secret for example.
	Container Kind = "container"
	// CrashLoop: a container that the flow needs ends again and again.
	CrashLoop Kind = "crash_loop"
	// Unstarted: the pod has its node, but none of its containers runs: a volume cannot be
	// mounted, or an image is large.
	Unstarted Kind = "unstarted"
	// Unschedulable: no node takes the pod.
	Unschedulable Kind = "unschedulable"
	// Outlived: the flow has ended, or the run has finished, and its Job goes on.
	Outlived Kind = "outlived"
	// Sidecar: a container that the flow can do without is in trouble.
	Sidecar Kind = "sidecar"
	// NoPods: Kubernetes creates no pod, because of a quota for example.
	NoPods Kind = "no_pods"
	// Cancelling: the flow does not react to being cancelled.
	Cancelling Kind = "cancelling"
	// Cancelled: the run was cancelled and its Job is still there.
	Cancelled Kind = "cancelled"
	// JobGone: the Job was deleted, or has ended, while its run is Running.
	JobGone Kind = "job_gone"
	// Spent: the run was told the end, and its Job has to be removed.
	Spent Kind = "spent"
)

// Kinds are all of them, in order.
func Kinds() []Kind {
	return []Kind{Failed, ImagePull, Container, CrashLoop, Unstarted, Unschedulable, Outlived, Sidecar, NoPods, Cancelling, Cancelled, JobGone, Spent}
}

// Rules are the operator's choices.
type Rules struct {
	// Grace is how long a hindrance may last before it is trouble: an image pull often
	// succeeds a moment later.
	Grace time.Duration
	// PendingFor is how long a run may wait for a node or a quota before it fails; 0 for
	// ever. Either way the run is told after Grace.
	PendingFor time.Duration
	// CancelGrace is how long a cancelled flow may go on; 0 for ever.
	CancelGrace time.Duration
	// FinishedGrace is how long a flow may go on after its run has finished; 0 for ever.
	// Prefect sometimes fails a run although its flow goes on.
	FinishedGrace time.Duration
	// PodRetries leaves failed pods to Kubernetes until it gives the Job up (backoffLimit).
	// The agent did not wait: a retried pod finds its run Running and does nothing.
	PodRetries bool
	// OwnJobs leaves all other Jobs alone: a worker beside us looks after those that it made.
	// An agent's are ours, because it is gone.
	OwnJobs bool
}

// judges reports whether a Job is judged at all.
func (r Rules) judges(j *batchv1.Job) bool {
	return j.DeletionTimestamp == nil && (!r.OwnJobs || j.Labels[job.LabelAttempt] != "")
}

// Finding is one judgement of a Job.
type Finding struct {
	Kind Kind
	// Final: the run cannot go on. Otherwise the run is told and waits.
	Final bool
	// From is when a launcher has to act, in the past or future.
	From time.Time
	// Message is for the run's author; a final one becomes the state's message.
	Message string
	// Pods are the names of those in trouble.
	Pods []string
	// Container is the one in trouble; empty if that is not one container alone.
	Container string
	// Unbegun: the pods failed or are gone, and none is known to have begun the flow, or the
	// run was cancelled before one did. The run's state tells for certain.
	Unbegun bool
}

// Judge finds the trouble of a Job, given its run's pods. It reports false if there is
// none, or if it was resolved.
func Judge(j *batchv1.Job, pods []*corev1.Pod, r Rules) (Finding, bool) {
	note := NoteOf(j)
	if !r.judges(j) || note.Done {
		return Finding{}, false
	}
	if note.Spent {
		return Finding{Kind: Spent, Final: true, From: note.Until}, true
	}
	pods = PodsOf(j, pods)
	f, found := failed(j, pods, note, r)
	if !found && !Finished(j) && (j.Spec.Suspend == nil || !*j.Spec.Suspend) {
		f, found = hindered(j, pods, r)
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

// sentence joins the parts that are known with colons.
func sentence(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ": ")
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// earlier ignores a zero a.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
