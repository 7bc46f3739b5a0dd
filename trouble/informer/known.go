package informer

import (
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// Knows reports whether a part was read as a whole. Until then what is not known
// says nothing.
func (i *Informer) Knows(p Part) bool {
	switch p {
	case Jobs:
		return i.jobs.HasSynced()
	case Pods:
		return i.pods.HasSynced()
	default:
		return i.UID() != ""
	}
}

// Err is why a part cannot be read at present; nil when it can.
func (i *Informer) Err(p Part) error { return i.outages[p].cause() }

// UID is the namespace's; empty before it was read.
func (i *Informer) UID() string {
	uid, _ := i.uid.Load().(string)
	return uid
}

// Job is the one of that name.
func (i *Informer) Job(name string) (*batchv1.Job, bool) {
	object, _, err := i.jobs.GetStore().GetByKey(i.namespace + "/" + name)
	j, ok := object.(*batchv1.Job)
	return j, err == nil && ok
}

// Jobs are all of them.
func (i *Informer) Jobs() []*batchv1.Job { return typed[*batchv1.Job](i.jobs.GetStore().List()) }

// JobsOf are those of a run.
func (i *Informer) JobsOf(run string) []*batchv1.Job { return ofRun[*batchv1.Job](i.jobs, run) }

// PodsOf are those of a run, whatever Job they are of.
func (i *Informer) PodsOf(run string) []*corev1.Pod { return ofRun[*corev1.Pod](i.pods, run) }

// Active are the runs of Jobs that have not ended, in order.
func (i *Informer) Active() []string {
	var runs []string
	for _, j := range i.Jobs() {
		if !trouble.Finished(j) && j.DeletionTimestamp == nil {
			runs = append(runs, j.Labels[job.LabelFlowRunID])
		}
	}
	slices.Sort(runs)
	return slices.Compact(runs)
}

// NothingLeft reports whether nothing of a run goes on any more. It is false while
// that is not known.
func (i *Informer) NothingLeft(run string, r trouble.Rules) bool {
	return i.Knows(Jobs) && i.Knows(Pods) && trouble.NothingLeft(i.JobsOf(run), i.PodsOf(run), r)
}

func ofRun[T any](informer cache.SharedIndexInformer, run string) []T {
	objects, err := informer.GetIndexer().ByIndex(byRun, run)
	if err != nil {
		return nil // only an index that does not exist; ours does
	}
	return typed[T](objects)
}

func typed[T any](objects []any) []T {
	all := make([]T, 0, len(objects))
	for _, o := range objects {
		if t, ok := o.(T); ok {
			all = append(all, t)
		}
	}
	return all
}
