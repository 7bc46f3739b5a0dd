package framework

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// SeenJob is a flow run's Job that existed at some time.
type SeenJob struct {
	Name string
	// At is when the watch saw its creation. The API server's own stamp has whole seconds.
	At time.Time
}

// recorder remembers every Job that ever existed, even if it was deleted since, so that a
// second Job of a run is noticed even after a clean-up.
type recorder struct {
	label string
	mu    sync.Mutex
	byRun map[string][]SeenJob
	known map[types.UID]bool
	stop  func()
}

func watchJobs(client kubernetes.Interface, namespace, label string) *recorder {
	ctx, cancel := context.WithCancel(context.Background())
	r := &recorder{label: label, byRun: map[string][]SeenJob{}, known: map[types.UID]bool{}}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = label }))
	// We need neither the registration's handle nor its error: the informer has not started.
	_, _ = factory.Batch().V1().Jobs().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: r.add})
	factory.StartWithContext(ctx)
	r.stop = func() { cancel(); factory.Shutdown() }
	return r
}

func (r *recorder) add(obj any) {
	j, ok := obj.(*batchv1.Job)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.known[j.UID] {
		r.known[j.UID] = true
		run := j.Labels[r.label]
		r.byRun[run] = append(r.byRun[run], SeenJob{Name: j.Name, At: time.Now()})
	}
}

func (r *recorder) of(run string) []SeenJob {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.byRun[run])
}

func (r *recorder) all() map[string][]SeenJob {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.byRun)
}

// JobsOf are all Jobs that a flow run ever had.
func (e *Env) JobsOf(run string) []SeenJob { return e.jobs.of(run) }

// JobCount is the number of flow runs that have had a Job so far.
func (e *Env) JobCount() int { return len(e.jobs.all()) }

// WaitForJob waits for a flow run's Job.
func (e *Env) WaitForJob(run string, within time.Duration) SeenJob {
	e.t.Helper()
	e.Eventually(within, "flow run "+run+" gets a Job", func(context.Context) (string, bool) {
		return "it has none", len(e.jobs.of(run)) > 0
	})
	return e.jobs.of(run)[0]
}

// WaitForJobs waits until every one of the flow runs has had a Job.
func (e *Env) WaitForJobs(runs []string, within time.Duration) {
	e.t.Helper()
	e.Eventually(within, "every flow run gets a Job", func(context.Context) (string, bool) {
		have := 0
		for _, run := range runs {
			if len(e.jobs.of(run)) > 0 {
				have++
			}
		}
		return counted(have, len(runs), "have one"), have == len(runs)
	})
}

// AssertOneJobEach fails when a flow run had no Job or more than one, ever.
func (e *Env) AssertOneJobEach(runs []string) {
	e.t.Helper()
	for _, run := range runs {
		if seen := e.jobs.of(run); len(seen) != 1 {
			e.t.Errorf("flow run %s had %d Jobs, want exactly one: %v", run, len(seen), seen)
		}
	}
	for run := range e.jobs.all() {
		if !slices.Contains(runs, run) {
			e.t.Errorf("there was a Job for flow run %s, which nobody asked for here", run)
		}
	}
}

// WaitForJobCount waits until that many flow runs have had a Job.
func (e *Env) WaitForJobCount(want int, within time.Duration) {
	e.t.Helper()
	e.Eventually(within, counted(want, want, "flow runs have a Job"), func(context.Context) (string, bool) {
		have := e.JobCount()
		return counted(have, want, "have one"), have >= want
	})
}

// DeleteJob deletes a Job and its pods, as somebody with kubectl does.
func (e *Env) DeleteJob(name string) {
	e.t.Helper()
	foreground := metav1.DeletePropagationForeground
	if err := e.Client.BatchV1().Jobs(e.Flows).Delete(e.t.Context(), name, metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
		e.t.Fatal(err)
	}
}

// WaitForJobGone waits until a flow run has no Job any more, and no pod.
func (e *Env) WaitForJobGone(run string, within time.Duration) {
	e.t.Helper()
	o := metav1.ListOptions{LabelSelector: e.runLabel + "=" + run}
	e.Eventually(within, "the Job of flow run "+run+" is removed", func(ctx context.Context) (string, bool) {
		jobs, err := e.Client.BatchV1().Jobs(e.Flows).List(ctx, o)
		if err != nil {
			return err.Error(), false
		}
		pods, err := e.Client.CoreV1().Pods(e.Flows).List(ctx, o)
		if err != nil {
			return err.Error(), false
		}
		return fmt.Sprintf("%d Jobs, %d pods", len(jobs.Items), len(pods.Items)), len(jobs.Items)+len(pods.Items) == 0
	})
}

// JobsBetween returns when the first and the last of the flow runs' Jobs were created.
func (e *Env) JobsBetween(runs []string) (first, last time.Time) {
	for _, run := range runs {
		for _, seen := range e.jobs.of(run) {
			if first.IsZero() || seen.At.Before(first) {
				first = seen.At
			}
			if seen.At.After(last) {
				last = seen.At
			}
		}
	}
	return first, last
}
