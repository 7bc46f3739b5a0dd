package informer

import (
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/prefect-keda/prefect-keda/trouble"
)

// Knows reports whether a part was read completely. Until then a missing object proves
// nothing.
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

// Err is why a part cannot be read now; nil if it can.
func (i *Informer) Err(p Part) error { return i.outages[p].cause() }

// UID is the namespace's UID; empty until it was read.
func (i *Informer) UID() string {
	uid, _ := i.uid.Load().(string)
	return uid
}

// Job finds a Job by its name.
func (i *Informer) Job(name string) (*batchv1.Job, bool) {
	object, _, err := i.jobs.GetStore().GetByKey(i.namespace + "/" + name)
	j, ok := object.(*batchv1.Job)
	return j, err == nil && ok
}

// Jobs returns all Jobs.
func (i *Informer) Jobs() []*batchv1.Job { return typed[*batchv1.Job](i.jobs.GetStore().List()) }

// JobsOf returns a run's Jobs.
func (i *Informer) JobsOf(run string) []*batchv1.Job { return ofRun[*batchv1.Job](i.jobs, run) }

// PodsOf returns a run's pods, those of all its Jobs.
func (i *Informer) PodsOf(run string) []*corev1.Pod { return ofRun[*corev1.Pod](i.pods, run) }

// Active returns the runs of Jobs that have not ended, in order.
func (i *Informer) Active() []string {
	var runs []string
	for _, j := range i.Jobs() {
		if !trouble.Finished(j) && j.DeletionTimestamp == nil {
			runs = append(runs, i.marks.RunOf(j))
		}
	}
	slices.Sort(runs)
	return slices.Compact(runs)
}

// NothingLeft is as in package trouble. It is false until Jobs and pods are known.
func (i *Informer) NothingLeft(run string, r trouble.Rules) bool {
	return i.Knows(Jobs) && i.Knows(Pods) && trouble.NothingLeft(i.JobsOf(run), i.PodsOf(run), r)
}

func ofRun[T any](informer cache.SharedIndexInformer, run string) []T {
	objects, err := informer.GetIndexer().ByIndex(byRun, run)
	if err != nil {
		return nil // only without the index
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
