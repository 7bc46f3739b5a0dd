package trouble

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/prefect-keda/prefect-keda/job"
)

// Annotation of a Job holds its Note.
const Annotation = "prefect-keda.io/trouble"

// maxTold bounds the events, the stories and the pods in a note. Kubernetes itself forgets
// events after an hour.
const maxTold = 64

// Note is a message on a Job from launchers to launchers. A launcher writes it with the
// version of the Job that it read, so only one of two launchers succeeds.
type Note struct {
	// Done: nothing is left to do about the Job.
	Done bool `json:"done,omitempty"`
	// Spent: the run was told the end; only the Job has to be removed, at Until.
	Spent bool `json:"spent,omitempty"`
	// Told is the trouble that the run was told of and may still get over.
	Told Kind `json:"told,omitempty"`
	// Why is the message that it was told, events included.
	Why string `json:"why,omitempty"`
	// By is the launcher with the case, and Until the end of its lease. Without By, Until
	// is the time of the next try.
	By    string    `json:"by,omitempty"`
	Until time.Time `json:"until,omitzero"`
	// Tries counts failed tries.
	Tries int `json:"tries,omitempty"`
	// Events are the beginnings of the uids of events that were told.
	Events []string `json:"events,omitempty"`
	// Stories of final trouble were told, each as a kind and the beginning of the pod's or
	// Job's uid. They are remembered because Prefect may refuse the state afterwards.
	Stories []string `json:"stories,omitempty"`
	// Past are failed pods that no longer matter: the run was started again and its Job
	// went on, or they never began the flow and another pod does. Each is the beginning of
	// a uid, or a number if the pod is gone.
	Past []string `json:"past,omitempty"`
}

// NoteOf reads the Job's note. It takes an unreadable note for none: at worst a run is
// told something twice.
func NoteOf(j *batchv1.Job) Note {
	var n Note
	if text := j.Annotations[Annotation]; text != "" && json.Unmarshal([]byte(text), &n) != nil {
		return Note{}
	}
	return n
}

// String is the annotation's value.
func (n Note) String() string {
	text, err := json.Marshal(n)
	if err != nil {
		return "" // unreachable: times within four-digit years encode
	}
	return string(text)
}

// Terminating reports whether a Job is given up, given its run's pods, although one of its own
// may still execute the run.
func Terminating(j *batchv1.Job, pods []*corev1.Pod) bool {
	n := NoteOf(j)
	return j.DeletionTimestamp != nil || (n.Done || n.Spent) && CanTake(j, pods)
}

// Knows reports whether the event was told.
func (n Note) Knows(e corev1.Event) bool { return slices.Contains(n.Events, short(e.UID)) }

// With is the note after an event was told.
func (n Note) With(e corev1.Event) Note {
	n.Events = withLast(n.Events, short(e.UID))
	return n
}

// KnowsStory reports whether the story of a pod or Job in that trouble was told.
func (n Note) KnowsStory(k Kind, of types.UID) bool { return slices.Contains(n.Stories, story(k, of)) }

// WithStory is the note after that story was told.
func (n Note) WithStory(k Kind, of types.UID) Note {
	n.Stories = withLast(n.Stories, story(k, of))
	return n
}

func story(k Kind, of types.UID) string { return string(k) + " " + short(of) }

// IsPast reports whether a pod's failure no longer matters.
func (n Note) IsPast(p *corev1.Pod) bool { return slices.Contains(n.Past, short(p.UID)) }

// WithPast adds a pod to those.
func (n Note) WithPast(p *corev1.Pod) Note {
	n.Past = withLast(n.Past, short(p.UID))
	return n
}

// withLast adds a text that is not there yet, and keeps the last maxTold. It does not
// change its argument.
func withLast(all []string, text string) []string {
	if slices.Contains(all, text) {
		return all
	}
	all = append(slices.Clone(all), text)
	return all[max(0, len(all)-maxTold):]
}

// WithGone is the note after so many pods failed in all; those without a note are gone.
func (n Note) WithGone(failed int) Note {
	for len(n.Past) < min(failed, maxTold) {
		n.Past = append(slices.Clone(n.Past), fmt.Sprint("gone ", len(n.Past)+1))
	}
	return n
}

func short(uid types.UID) string { return string(uid[:min(8, len(uid))]) }

// SlimJob keeps the parts of a Job that judgements and lookups need. A watch may hold
// thousands, and pod templates are large.
func SlimJob(j *batchv1.Job, m job.Marks) *batchv1.Job {
	slim := &batchv1.Job{
		ObjectMeta: slimMeta(j.ObjectMeta, m.Run, job.LabelAttempt),
		Spec:       batchv1.JobSpec{Suspend: j.Spec.Suspend, TTLSecondsAfterFinished: j.Spec.TTLSecondsAfterFinished},
		Status:     batchv1.JobStatus{StartTime: j.Status.StartTime, Active: j.Status.Active, Succeeded: j.Status.Succeeded, Failed: j.Status.Failed},
	}
	if j.Spec.PodFailurePolicy == nil {
		slim.Spec.BackoffLimit = j.Spec.BackoffLimit
	}
	// Of a Job that completed nobody asks why or when.
	if c := condition(j, batchv1.JobComplete); c != nil {
		slim.Status.Conditions = append(slim.Status.Conditions, batchv1.JobCondition{Type: c.Type, Status: c.Status})
	}
	if c := condition(j, batchv1.JobFailed); c != nil {
		slim.Status.Conditions = append(slim.Status.Conditions, *c)
	}
	if text, ok := j.Annotations[Annotation]; ok {
		slim.Annotations = map[string]string{Annotation: text}
	}
	return slim
}

// SlimPod does the same for a pod.
func SlimPod(p *corev1.Pod, m job.Marks) *corev1.Pod {
	slim := &corev1.Pod{ObjectMeta: slimMeta(p.ObjectMeta, m.Run)}
	for _, o := range p.OwnerReferences {
		if o.Kind == "Job" {
			slim.OwnerReferences = append(slim.OwnerReferences, metav1.OwnerReference{Kind: o.Kind, UID: o.UID, Controller: o.Controller})
		}
	}
	slim.Spec.RestartPolicy = p.Spec.RestartPolicy
	if f := flowOf(p); f.Name != "" {
		slim.Spec.Containers = []corev1.Container{{Name: f.Name, RestartPolicy: f.RestartPolicy, RestartPolicyRules: f.RestartPolicyRules}}
	}
	for _, c := range p.Spec.InitContainers {
		if isNative(c) {
			slim.Spec.InitContainers = append(slim.Spec.InitContainers, corev1.Container{Name: c.Name, RestartPolicy: c.RestartPolicy})
		}
	}
	s := p.Status
	slim.Status = corev1.PodStatus{Phase: s.Phase, Reason: s.Reason, Message: s.Message, StartTime: s.StartTime}
	for _, c := range s.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse || isDisruption(c) {
			slim.Status.Conditions = append(slim.Status.Conditions, c)
		}
	}
	slim.Status.InitContainerStatuses = slimStatuses(s.InitContainerStatuses, s.Phase)
	slim.Status.ContainerStatuses = slimStatuses(s.ContainerStatuses, s.Phase)
	return slim
}

func slimStatuses(all []corev1.ContainerStatus, phase corev1.PodPhase) []corev1.ContainerStatus {
	var kept []corev1.ContainerStatus
	for _, c := range all {
		if c.State.Running == nil || phase == corev1.PodPending {
			kept = append(kept, corev1.ContainerStatus{Name: c.Name, State: slimState(c.State), LastTerminationState: slimState(c.LastTerminationState)})
		}
	}
	return kept
}

func slimState(s corev1.ContainerState) corev1.ContainerState {
	if t := s.Terminated; t != nil {
		s.Terminated = &corev1.ContainerStateTerminated{ExitCode: t.ExitCode, Reason: t.Reason, StartedAt: t.StartedAt, FinishedAt: t.FinishedAt}
	}
	return s
}

func slimMeta(m metav1.ObjectMeta, labels ...string) metav1.ObjectMeta {
	slim := metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
		Labels: map[string]string{},
	}
	for _, l := range labels {
		if v, ok := m.Labels[l]; ok {
			slim.Labels[l] = v
		}
	}
	return slim
}

// PodsOf are the Job's among a run's pods, oldest first. It goes by the uid: a run may have
// had several Jobs, even of one name.
func PodsOf(j *batchv1.Job, pods []*corev1.Pod) []*corev1.Pod {
	var own []*corev1.Pod
	for _, p := range pods {
		if metav1.IsControlledBy(p, j) {
			own = append(own, p)
		}
	}
	slices.SortFunc(own, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	return own
}
