package launcher

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// supervised is what seeing to Jobs in trouble needs of Kubernetes.
type supervised interface {
	// troubled are the Jobs in trouble as far as the watch knows, with those that
	// outlive their run, those that are gone, and the chores.
	troubled(r trouble.Rules, s prefect.Supervision) []Troubled
	// active are the runs of Jobs that have not ended.
	active() []string
	// inspect asks for a run's Jobs and pods; the answer is not from a cache. With an
	// error there may be Jobs without their pods.
	inspect(ctx context.Context, flowRun string) ([]*batchv1.Job, []*corev1.Pod, error)
	// note writes a note on a Job, if the Job is still as it was read.
	note(ctx context.Context, j *batchv1.Job, n trouble.Note) error
	// release writes a note whatever else has changed; end also ends the Job and
	// keeps it, for good if keep is set.
	release(ctx context.Context, j *batchv1.Job, n trouble.Note, e ending) error
	// limit gives a Job a time to live, if the Job is still as it was read.
	limit(ctx context.Context, j *batchv1.Job, seconds int32) error
	// remove deletes a Job and its pods.
	remove(ctx context.Context, j *batchv1.Job) error
	// events are those of one object, oldest first.
	events(ctx context.Context, uid types.UID) ([]corev1.Event, error)
	// lastLines of what a container wrote, or the end of them if they are long; of its
	// last run if it runs again.
	lastLines(ctx context.Context, pod, container string, previous bool, lines int) (string, error)
}

// ending is what else becomes of a Job that is kept.
type ending struct {
	// stop ends what still runs.
	stop bool
	// keep takes away the time to live.
	keep bool
}

// Troubled is a Job that a launcher has to see to.
type Troubled struct {
	trouble.Finding
	Job, Run string
}

func (c *cluster) troubled(r trouble.Rules, s prefect.Supervision) []Troubled {
	var all []Troubled
	add := func(j *batchv1.Job, f trouble.Finding, found bool) {
		if found {
			all = append(all, Troubled{f, j.Name, j.Labels[job.LabelFlowRunID]})
		}
	}
	for _, j := range c.informer.Jobs() {
		if isPastCare(j) {
			continue
		}
		pods := c.informer.PodsOf(j.Labels[job.LabelFlowRunID])
		f, found := trouble.Judge(j, pods, r)
		if !found {
			f, found = trouble.Chore(j, pods)
		}
		add(j, f, found)
	}
	for _, run := range s.Ending {
		for _, j := range c.informer.JobsOf(run.ID) {
			f, found := trouble.JudgeEnding(j, run.State, run.StateAt, r)
			add(j, f, found)
		}
	}
	for _, run := range s.Silent {
		isTold := len(c.known(run.ID).Jobs) == len(c.informer.JobsOf(run.ID)) // of those we created
		if isTold && c.informer.NothingLeft(run.ID, r) {
			all = append(all, Troubled{trouble.Finding{Kind: trouble.JobGone, Final: true}, run.Claim.Job, run.ID})
		}
	}
	return all
}

// isPastCare spares the look at most Jobs: they have succeeded and wait for their
// time to live to pass.
func isPastCare(j *batchv1.Job) bool {
	return j.Status.Succeeded > 0 && j.Status.Failed == 0 && j.Spec.TTLSecondsAfterFinished != nil && len(j.Annotations) == 0
}

func (c *cluster) active() []string { return c.informer.Active() }

func (c *cluster) inspect(ctx context.Context, flowRun string) ([]*batchv1.Job, []*corev1.Pod, error) {
	o := metav1.ListOptions{LabelSelector: job.LabelFlowRunID + "=" + flowRun}
	jobs, err := c.Jobs.List(ctx, o)
	if err != nil {
		return nil, nil, fmt.Errorf("list the Jobs of flow run %s: %w", flowRun, err)
	}
	pods, err := c.Pods.List(ctx, o)
	if err != nil {
		return pointers(jobs.Items), nil, fmt.Errorf("list the pods of flow run %s: %w", flowRun, err)
	}
	return pointers(jobs.Items), pointers(pods.Items), nil
}

func pointers[T any](items []T) []*T {
	all := make([]*T, len(items))
	for i := range items {
		all[i] = &items[i]
	}
	return all
}

func (c *cluster) note(ctx context.Context, j *batchv1.Job, n trouble.Note) error {
	return c.patch(ctx, j, map[string]any{"metadata": noted(n, map[string]any{"uid": j.UID, "resourceVersion": j.ResourceVersion})})
}

func (c *cluster) release(ctx context.Context, j *batchv1.Job, n trouble.Note, e ending) error {
	body := map[string]any{"metadata": noted(n, map[string]any{"uid": j.UID})}
	spec := map[string]any{}
	if e.stop {
		spec["activeDeadlineSeconds"] = 1
	}
	if e.keep {
		spec["ttlSecondsAfterFinished"] = nil
	}
	if len(spec) > 0 {
		body["spec"] = spec
	}
	return c.patch(ctx, j, body)
}

func (c *cluster) limit(ctx context.Context, j *batchv1.Job, seconds int32) error {
	return c.patch(ctx, j, map[string]any{
		"metadata": map[string]any{"uid": j.UID, "resourceVersion": j.ResourceVersion},
		"spec":     map[string]any{"ttlSecondsAfterFinished": seconds},
	})
}

func noted(n trouble.Note, metadata map[string]any) map[string]any {
	metadata["annotations"] = map[string]string{trouble.Annotation: n.String()}
	return metadata
}

func (c *cluster) patch(ctx context.Context, j *batchv1.Job, body map[string]any) error {
	data, err := json.Marshal(body)
	if err == nil {
		_, err = c.Jobs.Patch(ctx, j.Name, types.MergePatchType, data, metav1.PatchOptions{})
	}
	if err != nil {
		return fmt.Errorf("write on Job %s what was done about it: %w", j.Name, err)
	}
	return nil
}

func (c *cluster) remove(ctx context.Context, j *batchv1.Job) error {
	foreground := metav1.DeletePropagationForeground
	err := c.Jobs.Delete(ctx, j.Name, metav1.DeleteOptions{PropagationPolicy: &foreground, Preconditions: &metav1.Preconditions{UID: &j.UID}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // a conflict: it is another one by now
		return fmt.Errorf("delete Job %s: %w", j.Name, err)
	}
	return nil
}

func (c *cluster) events(ctx context.Context, uid types.UID) ([]corev1.Event, error) {
	list, err := c.Events.List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(uid)})
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	events := slices.DeleteFunc(list.Items, func(e corev1.Event) bool { return e.InvolvedObject.UID != uid })
	slices.SortStableFunc(events, func(a, b corev1.Event) int { return trouble.EventTime(a).Compare(trouble.EventTime(b)) })
	return events, nil
}

func (c *cluster) lastLines(ctx context.Context, pod, container string, previous bool, lines int) (string, error) {
	// A limit of bytes would be one from the first of these lines on.
	log, err := c.Log(ctx, pod, corev1.PodLogOptions{Container: container, Previous: previous, TailLines: new(int64(lines))})
	if err != nil {
		return "", fmt.Errorf("read the log of pod %s: %w", pod, err)
	}
	defer func() { _ = log.Close() }()
	text, err := endOf(log, maxTold, maxLogBytes)
	if err != nil {
		return "", fmt.Errorf("read the log of pod %s: %w", pod, err)
	}
	return text, nil
}
