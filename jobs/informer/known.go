package informer

import (
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/trouble"
)

// Knows reports whether a part was read completely. Until then a missing object proves
// nothing.
func (i *Informer) Knows(p Part) bool {
	switch p {
	case Jobs:
		return i.jobsKeeper.HasSynced()
	case Pods:
		return i.podsKeeper.HasSynced()
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
	e := i.jobs.find(name)
	if e == nil {
		return nil, false
	}
	return e.object(), true
}

// JobsOf returns a run's Jobs.
func (i *Informer) JobsOf(run string) []*batchv1.Job { return i.jobs.of(run) }

// PodsOf returns a run's pods, those of all its Jobs.
func (i *Informer) PodsOf(run string) []*corev1.Pod { return i.pods.of(run) }

// Runs returns the runs with a Job, in no order.
func (i *Informer) Runs() []string { return i.jobs.runs(false) }

// Active returns the runs of Jobs that have not ended, in order.
func (i *Informer) Active() []string {
	runs := i.jobs.runs(true)
	slices.Sort(runs)
	return runs
}

// ArePastCare reports whether a run has Jobs and all are past care, as package trouble says.
// It costs next to nothing.
func (i *Informer) ArePastCare(run string) bool { return i.jobs.arePastCare(run) }

// NothingLeft is as in package trouble. It is false until Jobs and pods are known.
func (i *Informer) NothingLeft(run string, r trouble.Rules) bool {
	return i.Knows(Jobs) && i.Knows(Pods) && trouble.NothingLeft(i.JobsOf(run), i.PodsOf(run), r)
}
