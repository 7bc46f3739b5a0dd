package trouble

import (
	"cmp"
	"fmt"
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
	// Failed: a pod has failed, or Kubernetes has given the Job up.
	Failed Kind = "failed"
	// ImagePull: an image cannot be pulled.
	ImagePull Kind = "image_pull"
	// Container: a container cannot be started, for lack of a Secret for example.
	Container Kind = "container"
	// CrashLoop: a container ends again and again.
	CrashLoop Kind = "crash_loop"
	// Unstarted: the pod has its node and nothing of it runs: a volume cannot be
	// mounted, or an image is large.
	Unstarted Kind = "unstarted"
	// Unschedulable: no node takes the pod.
	Unschedulable Kind = "unschedulable"
	// NoPods: pods are not even created, because of a quota for example.
	NoPods Kind = "no_pods"
	// Cancelled: the run was cancelled and its Job is still there.
	Cancelled Kind = "cancelled"
	// JobGone: the Job was deleted, or has ended, while its run is Running.
	JobGone Kind = "job_gone"
	// Spent: the run was told the end, and its Job is to be removed.
	Spent Kind = "spent"
)

// Kinds are all of them, in order.
func Kinds() []Kind {
	return []Kind{Failed, ImagePull, Container, CrashLoop, Unstarted, Unschedulable, NoPods, Cancelled, JobGone, Spent}
}

// Rules are what operators may choose.
type Rules struct {
	// Grace is how long a hindrance may last before it is trouble: images that
	// fail to be pulled are often pulled a moment later.
	Grace time.Duration
	// PendingFor is how long a run may wait for a node or a quota before it is
	// failed; 0 lets it wait for ever. Either way it is told after Grace.
	PendingFor time.Duration
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
		if r.PendingFor <= 0 {
			return Finding{}, false
		}
		f.Final = true
		f.From = f.From.Add(r.PendingFor - r.Grace)
	}
	f.From = later(f.From, note.Until)
	return f, true
}

// JudgeCancelled is for the Job of a run that is Cancelled since then. A pod
// ends by itself when it finds out; grace is given for that.
func JudgeCancelled(j *batchv1.Job, since time.Time, r Rules) (Finding, bool) {
	note := NoteOf(j)
	if j.DeletionTimestamp != nil || note.Done || note.Spent || Finished(j) {
		return Finding{}, false
	}
	return Finding{Kind: Cancelled, Final: true, From: later(since.Add(r.Grace), note.Until), Message: "the run was cancelled; its Job " + j.Name + " is stopped"}, true
}

// NothingLeft reports whether nothing of a run goes on in the cluster and nothing
// is wrong with its Jobs, if there are any left. A run that is Running all the
// same will do so for ever.
func NothingLeft(jobs []*batchv1.Job, pods []*corev1.Pod, r Rules) bool {
	for _, j := range jobs {
		if _, found := Judge(j, pods, r); found || !Finished(j) {
			return false
		}
	}
	return !slices.ContainsFunc(pods, func(p *corev1.Pod) bool {
		return p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
	})
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

// failed goes by pods as well as by the Job's own verdict, as the agent did.
func failed(j *batchv1.Job, pods []*corev1.Pod, note Note, r Rules) (Finding, bool) {
	verdict := condition(j, batchv1.JobFailed)
	if verdict == nil && r.PodRetries {
		return Finding{}, false
	}
	f := Finding{Kind: Failed, Final: true}
	for _, p := range pods {
		if p.Status.Phase == corev1.PodFailed && !note.IsPast(p) {
			f.Pods = append(f.Pods, p.Name)
			f.From = earlier(f.From, Ended(p))
		}
	}
	switch {
	case len(f.Pods) > 0:
		f.Message = fmt.Sprintf("Kubernetes Error: pods ['%s'] failed for this job", strings.Join(f.Pods, "', '"))
	case verdict != nil:
		// Its pods are gone, as after activeDeadlineSeconds.
		f.From = verdict.LastTransitionTime.Time
		f.Message = "Kubernetes Error: " + sentence("Job "+j.Name+" failed", verdict.Reason, verdict.Message)
	case int(j.Status.Failed) > len(note.Past):
		f.From = j.CreationTimestamp.Time
		f.Message = fmt.Sprintf("Kubernetes Error: %d pods failed for this job and are gone", j.Status.Failed)
	default:
		return Finding{}, false
	}
	return f, true
}

// Ended is when the last container of a pod has ended; when it was created if
// none is known to have run.
func Ended(p *corev1.Pod) time.Time {
	var at time.Time
	for _, c := range p.Status.ContainerStatuses {
		if t := c.State.Terminated; t != nil {
			at = later(at, t.FinishedAt.Time)
		}
	}
	if at.IsZero() {
		at = p.CreationTimestamp.Time
	}
	return at
}

// stuck is what keeps an unfinished Job from going on.
func stuck(j *batchv1.Job, pods []*corev1.Pod, r Rules) (Finding, bool) {
	for _, p := range pods {
		if p.DeletionTimestamp != nil {
			continue
		}
		if f, found := waiting(p, r); found {
			return f, true
		}
	}
	for _, p := range pods {
		if p.DeletionTimestamp == nil && unstarted(p) {
			return Finding{
				Kind: Unstarted, From: p.Status.StartTime.Add(r.Grace), Pods: []string{p.Name},
				Message: "Kubernetes Error: pod " + p.Name + " does not start",
			}, true
		}
		for _, c := range p.Status.Conditions {
			if p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodPending && c.Type == corev1.PodScheduled &&
				c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
				since := later(p.CreationTimestamp.Time, c.LastTransitionTime.Time)
				return Finding{
					Kind: Unschedulable, From: since.Add(r.Grace), Pods: []string{p.Name},
					Message: sentence("Kubernetes Error: pod "+p.Name+" cannot be scheduled", c.Message),
				}, true
			}
		}
	}
	s := j.Status
	since := j.CreationTimestamp.Time
	if len(pods) > 0 || s.Active > 0 || s.Succeeded > 0 || s.Failed > 0 || since.IsZero() {
		return Finding{}, false
	}
	if s.StartTime != nil {
		since = later(since, s.StartTime.Time)
	}
	return Finding{Kind: NoPods, From: since.Add(r.Grace), Message: "Kubernetes Error: no pod is created for Job " + j.Name}, true
}

// waiting is the first container, of those that run before the others too, that
// cannot start. The grace is counted from when it was its turn: containers start
// one after another, and one that ends may be started again.
func waiting(p *corev1.Pod, r Rules) (Finding, bool) {
	turn := p.CreationTimestamp.Time
	if p.Status.StartTime != nil {
		turn = later(turn, p.Status.StartTime.Time) // when it got its node
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		w := c.State.Waiting
		if w == nil {
			turn = later(turn, begunOrEnded(c.State))
			continue
		}
		since := turn
		if t := c.LastTerminationState.Terminated; t != nil {
			since = later(since, t.FinishedAt.Time)
		}
		f := Finding{Final: true, From: since.Add(r.Grace), Pods: []string{p.Name}, Container: c.Name}
		switch w.Reason {
		case "ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError", "SignatureValidationFailed":
			f.Kind = ImagePull
		case "InvalidImageName", "ErrImageNeverPull":
			f.Kind, f.From = ImagePull, since // no time mends these
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreStartHookError", "PostStartHookError":
			f.Kind = Container
		case "CrashLoopBackOff":
			// The pause between two tries grows; once it is longer than the grace there is
			// not much to hope for.
			f.Kind = CrashLoop
		default:
			continue // ContainerCreating, PodInitializing
		}
		f.Message = "Kubernetes Error: " + cmp.Or(w.Message, w.Reason)
		return f, true
	}
	return Finding{}, false
}

// begunOrEnded is when the next container had its turn after this one.
func begunOrEnded(s corev1.ContainerState) time.Time {
	switch {
	case s.Running != nil:
		return s.Running.StartedAt.Time
	case s.Terminated != nil:
		return s.Terminated.FinishedAt.Time
	}
	return time.Time{}
}

// unstarted reports whether a node has had the pod and none of its containers,
// those that run before the others included, has ever run.
func unstarted(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodPending && p.Status.StartTime != nil &&
		!slices.ContainsFunc(slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses), func(c corev1.ContainerStatus) bool {
			return c.State.Running != nil || c.State.Terminated != nil || c.LastTerminationState.Terminated != nil
		})
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
