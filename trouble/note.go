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

// maxTold events, and as many of the rest, are remembered: a pod's are told once
// they are trouble, and Kubernetes itself forgets events after an hour.
const maxTold = 64

// Note is what launchers leave on a Job for each other. It is written with the
// version of the Job that was read, so of two launchers one writes it.
type Note struct {
	// Done: nothing is left to do about the Job, whatever becomes of it.
	Done bool `json:"done,omitempty"`
	// Spent: its run was told the end; what is left is to remove the Job at Until.
	Spent bool `json:"spent,omitempty"`
	// Told is the trouble the run was told of and may still get over.
	Told Kind `json:"told,omitempty"`
	// By is the launcher that is at it, Until when others may take over; or, when
	// it went wrong, when to try again.
	By    string    `json:"by,omitempty"`
	Until time.Time `json:"until,omitzero"`
	// Tries counts what went wrong.
	Tries int `json:"tries,omitempty"`
	// Events are the beginnings of the uids of events that were told.
	Events []string `json:"events,omitempty"`
	// Stories are those of final trouble that were told, each a kind and the
	// beginning of the uid of the pod or Job: Prefect may refuse the state after.
	Stories []string `json:"stories,omitempty"`
	// Past are pods whose failing says nothing of the run: it was started again since
	// and its Job went on, or they never began it and another pod does. They are the
	// beginnings of their uids, or no more than a number where they are gone.
	Past []string `json:"past,omitempty"`
}

// NoteOf reads the Job's note. One that cannot be read is none: the worst that
// follows is that something is told twice.
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

// Leaving reports whether a Job is given up, given its run's pods, while one of its
// own may still execute the run.
func Leaving(j *batchv1.Job, pods []*corev1.Pod) bool {
	n := NoteOf(j)
	return j.DeletionTimestamp != nil || (n.Done || n.Spent) && CanTake(j, pods)
}

// Knows reports whether an event was told.
func (n Note) Knows(e corev1.Event) bool { return slices.Contains(n.Events, short(e.UID)) }

// With is the note after an event was told.
func (n Note) With(e corev1.Event) Note {
	n.Events = withLast(n.Events, short(e.UID))
	return n
}

// KnowsStory reports whether the story was told of a pod or Job in that trouble.
func (n Note) KnowsStory(k Kind, of types.UID) bool { return slices.Contains(n.Stories, story(k, of)) }

// WithStory is the note after it was.
func (n Note) WithStory(k Kind, of types.UID) Note {
	n.Stories = withLast(n.Stories, story(k, of))
	return n
}

func story(k Kind, of types.UID) string { return string(k) + " " + short(of) }

// IsPast reports whether a pod's failure is not this attempt's.
func (n Note) IsPast(p *corev1.Pod) bool { return slices.Contains(n.Past, short(p.UID)) }

// WithPast is the note when that is known of a pod.
func (n Note) WithPast(p *corev1.Pod) Note {
	n.Past = withLast(n.Past, short(p.UID))
	return n
}

// withLast adds what is not there yet, to the last maxTold, and leaves all as it is.
func withLast(all []string, text string) []string {
	if slices.Contains(all, text) {
		return all
	}
	all = append(slices.Clone(all), text)
	return all[max(0, len(all)-maxTold):]
}

// WithGone is the note after so many pods failed in all and those that are not
// noted are gone.
func (n Note) WithGone(failed int) Note {
	for len(n.Past) < min(failed, maxTold) {
		n.Past = append(slices.Clone(n.Past), fmt.Sprint("gone ", len(n.Past)+1))
	}
	return n
}

func short(uid types.UID) string { return string(uid[:min(8, len(uid))]) }

// SlimJob keeps of a Job what is judged and what it is known by, for watches:
// thousands may be around, and their pod templates are what is large.
func SlimJob(j *batchv1.Job) *batchv1.Job {
	slim := &batchv1.Job{
		ObjectMeta: slimMeta(j.ObjectMeta),
		Spec:       batchv1.JobSpec{Suspend: j.Spec.Suspend, TTLSecondsAfterFinished: j.Spec.TTLSecondsAfterFinished},
		Status: batchv1.JobStatus{
			Conditions: j.Status.Conditions, StartTime: j.Status.StartTime,
			Active: j.Status.Active, Succeeded: j.Status.Succeeded, Failed: j.Status.Failed,
		},
	}
	if text, ok := j.Annotations[Annotation]; ok {
		slim.Annotations = map[string]string{Annotation: text}
	}
	return slim
}

// SlimPod does the same for a pod. Of one that is well little but its phase and
// name is left.
func SlimPod(p *corev1.Pod) *corev1.Pod {
	slim := &corev1.Pod{ObjectMeta: slimMeta(p.ObjectMeta)}
	slim.OwnerReferences = slices.DeleteFunc(slices.Clone(p.OwnerReferences), func(o metav1.OwnerReference) bool { return o.Kind != "Job" })
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
			kept = append(kept, corev1.ContainerStatus{Name: c.Name, State: c.State, LastTerminationState: c.LastTerminationState})
		}
	}
	return kept
}

func slimMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	slim := metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
		Labels: map[string]string{},
	}
	for _, l := range []string{job.LabelFlowRunID, job.LabelAttempt} {
		if v, ok := m.Labels[l]; ok {
			slim.Labels[l] = v
		}
	}
	return slim
}

// PodsOf are those of a run's pods that are the Job's, the oldest first. A run
// may have had several Jobs, and of one name too when one was deleted and created
// again, so the uid tells.
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
