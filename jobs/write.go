package jobs

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

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// Ending says how to end a Job that is kept.
type Ending struct {
	// Stop ends its pods.
	Stop bool
	// Keep removes its time to live.
	Keep bool
}

// Troubled is a Job with trouble or a chore for a launcher.
type Troubled struct {
	trouble.Finding
	Namespace, Job, Run string
}

// Troubled judges the Jobs that the watch knows, with the supervision of their runs. It costs
// what has changed since the last call: where there is trouble or a chore with very many
// Jobs, each call returns others of them.
func (c *Cluster) Troubled(r trouble.Rules, s prefect.Supervision) []Troubled {
	var all []Troubled
	for _, space := range c.spaces {
		all = append(all, c.troubledAt(space, r, s.Ending)...)
	}
	for _, run := range s.Silent {
		told := 0
		for _, space := range c.spaces {
			told += len(space.informer.JobsOf(run.ID))
		}
		isTold := len(c.Known(run.ID).Jobs) == told // of those we created
		if isTold && c.nothingLeft(run, r) {
			all = append(all, Troubled{trouble.Finding{Kind: trouble.JobGone, Final: true, Unbegun: run.NeverBegan}, run.Claim.Namespace, run.Claim.Job, run.ID})
		}
	}
	return all
}

func (c *Cluster) troubledAt(s *space, r trouble.Rules, ending []prefect.JobRun) []Troubled {
	all := s.verdicts.now(r, s.informer.Runs, func(run string) []Troubled { return c.judge(s, run, r) })
	for _, run := range ending {
		for _, j := range s.informer.JobsOf(run.ID) {
			if f, found := trouble.JudgeEnding(j, run, r); found {
				all = append(all, Troubled{f, s.name, j.Name, run.ID})
			}
		}
	}
	return all
}

// judge judges the Jobs of a run.
func (c *Cluster) judge(s *space, run string, r trouble.Rules) (all []Troubled) {
	if s.informer.ArePastCare(run) {
		return nil
	}
	pods := s.informer.PodsOf(run)
	for _, j := range s.informer.JobsOf(run) {
		if trouble.PastCare(j) {
			continue
		}
		f, found := trouble.Judge(j, pods, r)
		if !found {
			f, found = trouble.Chore(j, pods, r)
		}
		if found {
			all = append(all, Troubled{f, s.name, j.Name, run})
		}
	}
	return all
}

// nothingLeft reports whether no namespace executes anything of a run. It is false until
// all are known that can be, and that of the run's claim.
func (c *Cluster) nothingLeft(run prefect.JobRun, r trouble.Rules) bool {
	for i, s := range c.spaces {
		if _, err := s.isKnown(); i > 0 && s.name != run.Claim.Namespace && isBarred(err) {
			continue
		}
		if !s.informer.NothingLeft(run.ID, r) {
			return false
		}
	}
	return true
}

// Active returns the runs of Jobs that have not ended, in order.
func (c *Cluster) Active() []string {
	var runs []string
	for _, s := range c.spaces {
		runs = append(runs, s.informer.Active()...)
	}
	slices.Sort(runs)
	return slices.Compact(runs)
}

// Inspect is as in resolve.Jobs. It leaves out namespaces that do not exist or may not be
// read, unless it is the home namespace.
func (c *Cluster) Inspect(ctx context.Context, flowRun string) (jobs []*batchv1.Job, pods []*corev1.Pod, err error) {
	o := metav1.ListOptions{LabelSelector: c.marks.Selector(flowRun)}
	var unread error
	for i, s := range c.spaces {
		found, err := s.client.Jobs.List(ctx, o)
		if i > 0 && isBarred(err) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("list the Jobs of flow run %s: %w", flowRun, err)
		}
		jobs = append(jobs, pointers(found.Items)...)
		theirs, err := s.client.Pods.List(ctx, o)
		if err != nil {
			unread = fmt.Errorf("list the pods of flow run %s: %w", flowRun, err)
			continue
		}
		pods = append(pods, pointers(theirs.Items)...)
	}
	if unread != nil {
		return jobs, nil, unread
	}
	return jobs, pods, nil
}

func pointers[T any](items []T) []*T {
	all := make([]*T, len(items))
	for i := range items {
		all[i] = &items[i]
	}
	return all
}

// Note is as in resolve.Jobs.
func (c *Cluster) Note(ctx context.Context, j *batchv1.Job, n trouble.Note) error {
	return c.patch(ctx, j, map[string]any{"metadata": noted(n, map[string]any{"uid": j.UID, "resourceVersion": j.ResourceVersion})})
}

// Release is as in resolve.Jobs.
func (c *Cluster) Release(ctx context.Context, j *batchv1.Job, n trouble.Note, e Ending) error {
	body := map[string]any{"metadata": noted(n, map[string]any{"uid": j.UID})}
	spec := map[string]any{}
	if e.Stop {
		spec["activeDeadlineSeconds"] = 1
	}
	if e.Keep {
		spec["ttlSecondsAfterFinished"] = nil
	}
	if len(spec) > 0 {
		body["spec"] = spec
	}
	return c.patch(ctx, j, body)
}

// Limit is as in resolve.Jobs.
func (c *Cluster) Limit(ctx context.Context, j *batchv1.Job, seconds int32) error {
	return c.patch(ctx, j, map[string]any{
		"metadata": map[string]any{"uid": j.UID, "resourceVersion": j.ResourceVersion},
		"spec":     map[string]any{"ttlSecondsAfterFinished": seconds},
	})
}

func noted(n trouble.Note, metadata map[string]any) map[string]any {
	metadata["annotations"] = map[string]string{trouble.Annotation: n.String()}
	return metadata
}

func (c *Cluster) patch(ctx context.Context, j *batchv1.Job, body map[string]any) error {
	data, err := json.Marshal(body)
	var s *space
	if err == nil {
		s, err = c.at(j.Namespace)
	}
	if err == nil {
		_, err = s.client.Jobs.Patch(ctx, j.Name, types.MergePatchType, data, metav1.PatchOptions{})
	}
	if err != nil {
		return fmt.Errorf("patch Job %s: %w", j.Name, err)
	}
	return nil
}

// Remove is as in resolve.Jobs.
func (c *Cluster) Remove(ctx context.Context, j *batchv1.Job) error {
	foreground := metav1.DeletePropagationForeground
	s, err := c.at(j.Namespace)
	if err != nil {
		return fmt.Errorf("delete Job %s: %w", j.Name, err)
	}
	err = s.client.Jobs.Delete(ctx, j.Name, metav1.DeleteOptions{PropagationPolicy: &foreground, Preconditions: &metav1.Preconditions{UID: &j.UID}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // a conflict: it is another one by now
		return fmt.Errorf("delete Job %s: %w", j.Name, err)
	}
	return nil
}

// Events is as in resolve.Jobs.
func (c *Cluster) Events(ctx context.Context, namespace string, uid types.UID) ([]corev1.Event, error) {
	s, err := c.at(namespace)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	list, err := s.client.Events.List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(uid)})
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	events := slices.DeleteFunc(list.Items, func(e corev1.Event) bool { return e.InvolvedObject.UID != uid })
	slices.SortStableFunc(events, func(a, b corev1.Event) int { return trouble.EventTime(a).Compare(trouble.EventTime(b)) })
	return events, nil
}

// LastLines is as in resolve.Jobs.
func (c *Cluster) LastLines(ctx context.Context, namespace, pod, container string, previous bool, lines int) (string, error) {
	s, err := c.at(namespace)
	if err != nil {
		return "", fmt.Errorf("read the log of pod %s: %w", pod, err)
	}
	// A limit of bytes would cut the end and keep the beginning.
	log, err := s.client.Log(ctx, pod, corev1.PodLogOptions{Container: container, Previous: previous, TailLines: new(int64(lines))})
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
