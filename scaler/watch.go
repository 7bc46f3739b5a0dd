package scaler

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// byRun is the index of Jobs and of pods by the flow run they are for.
const byRun = "flow-run"

// Lister is as much of client-go's typed client for the objects of one kind in
// one namespace as the scaler calls; L is the kind's list.
type Lister[L runtime.Object] interface {
	List(ctx context.Context, o metav1.ListOptions) (L, error)
	Watch(ctx context.Context, o metav1.ListOptions) (kwatch.Interface, error)
}

// Kubernetes gives the clients of a namespace.
type Kubernetes struct {
	Jobs func(namespace string) Lister[*batchv1.JobList]
	Pods func(namespace string) Lister[*corev1.PodList]
	// UID reads a namespace's, which tells it from those of its name in other
	// clusters.
	UID func(ctx context.Context, namespace string) (string, error)
}

// watch knows which Jobs exist in some namespaces and which of them are in
// trouble. Of Jobs and pods it keeps what that takes and no more.
type watch struct {
	namespaces map[string]*place
	readUID    func(ctx context.Context, namespace string) (string, error)
	rules      trouble.Rules
	log        *slog.Logger

	mu        sync.Mutex
	listeners []chan<- struct{}
}

// place is one namespace.
type place struct {
	name       string
	jobs, pods cache.SharedIndexInformer
	uid        atomic.Value // string; the namespace's, none before it was read

	mu    sync.Mutex
	found map[string]found // by Job
}

// found is a Job in trouble.
type found struct {
	trouble.Finding
	Namespace, Job, Run string
	// Ended is when nothing runs any more, whatever becomes of it.
	Ended bool
}

func newWatch(client Kubernetes, namespaces []string, rules trouble.Rules, log *slog.Logger) (*watch, error) {
	w := &watch{namespaces: map[string]*place{}, readUID: client.UID, rules: rules, log: log}
	for _, ns := range namespaces {
		if w.namespaces[ns] != nil {
			continue
		}
		p := &place{name: ns, found: map[string]found{}}
		jobs, pods := client.Jobs(ns), client.Pods(ns)
		p.jobs = newInformer(jobs, &batchv1.Job{})
		p.pods = newInformer(pods, &corev1.Pod{})
		err := w.follow(p.jobs, w.complaint(ns, "Jobs; claims without a Job"), true, func(o metav1.Object) { w.judge(p, o.GetName()) })
		if err == nil {
			err = w.follow(p.pods, w.complaint(ns, "pods; Jobs in trouble"), false, func(o metav1.Object) {
				for _, j := range p.jobsOf(o.GetLabels()[job.LabelFlowRunID]) {
					w.judge(p, j.Name)
				}
			})
		}
		if err != nil {
			return nil, fmt.Errorf("watch Jobs in %s: %w", ns, err)
		}
		w.namespaces[ns] = p
	}
	return w, nil
}

// newInformer: client-go's ready-made ones would link every client there is. No
// resync: nothing here acts on what did not change.
func newInformer[L runtime.Object](client Lister[L], kind runtime.Object) cache.SharedIndexInformer {
	return cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = job.LabelFlowRunID
			return client.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (kwatch.Interface, error) {
			o.LabelSelector = job.LabelFlowRunID
			return client.Watch(ctx, o)
		},
	}, client), kind, 0, cache.Indexers{byRun: flowRunOf})
}

// follow has changed called for every object that comes, changes or goes.
func (w *watch) follow(informer cache.SharedIndexInformer, complain cache.WatchErrorHandlerWithContext, comings bool, changed func(metav1.Object)) error {
	on := func(object any, comesOrGoes bool) {
		if t, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = t.Obj // stands for an object whose deletion the watch missed
		}
		if o, ok := object.(metav1.Object); ok {
			changed(o)
		}
		if comesOrGoes && comings {
			w.tell()
		}
	}
	if err := informer.SetTransform(slim); err != nil {
		return err
	}
	if err := informer.SetWatchErrorHandlerWithContext(complain); err != nil {
		return err
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { on(o, true) },
		UpdateFunc: func(_, o any) { on(o, false) },
		DeleteFunc: func(o any) { on(o, true) },
	})
	return err
}

// slim keeps what is judged.
func slim(object any) (any, error) {
	switch o := object.(type) {
	case cache.DeletedFinalStateUnknown:
		slimmed, err := slim(o.Obj)
		o.Obj = slimmed
		return o, err
	case *batchv1.Job:
		return trouble.SlimJob(o), nil
	case *corev1.Pod:
		return trouble.SlimPod(o), nil
	}
	return object, nil
}

func flowRunOf(object any) ([]string, error) {
	o, ok := object.(metav1.Object)
	if !ok {
		return nil, nil
	}
	return []string{o.GetLabels()[job.LabelFlowRunID]}, nil
}

// judge brings what is known of one Job up to date. The lock keeps the watches
// of Jobs and of pods from overtaking each other.
func (w *watch) judge(p *place, name string) {
	p.mu.Lock()
	before, had := p.found[name]
	now, has := p.judge(name, w.rules)
	if has {
		p.found[name] = now
	} else {
		delete(p.found, name)
	}
	p.mu.Unlock()
	if has != had || !reflect.DeepEqual(before, now) {
		w.tell()
	}
}

func (p *place) judge(name string, rules trouble.Rules) (found, bool) {
	object, exists, err := p.jobs.GetStore().GetByKey(p.name + "/" + name)
	j, ok := object.(*batchv1.Job)
	if err != nil || !exists || !ok {
		return found{}, false
	}
	f, has := trouble.Judge(j, p.podsOf(j.Labels[job.LabelFlowRunID]), rules)
	return p.finding(j, f), has
}

func (p *place) finding(j *batchv1.Job, f trouble.Finding) found {
	return found{Finding: f, Namespace: p.name, Job: j.Name, Run: j.Labels[job.LabelFlowRunID], Ended: trouble.Finished(j)}
}

func (p *place) jobsOf(run string) []*batchv1.Job { return indexed[*batchv1.Job](p.jobs, run) }
func (p *place) podsOf(run string) []*corev1.Pod  { return indexed[*corev1.Pod](p.pods, run) }

func indexed[T any](informer cache.SharedIndexInformer, run string) []T {
	objects, err := informer.GetIndexer().ByIndex(byRun, run)
	if err != nil {
		return nil // only an index that does not exist; ours does
	}
	var all []T
	for _, o := range objects {
		if t, ok := o.(T); ok {
			all = append(all, t)
		}
	}
	return all
}

// troubled are the Jobs in trouble, in the order of their names.
func (w *watch) troubled(namespaces []string) []found {
	var all []found
	for _, ns := range namespaces {
		p := w.namespaces[ns]
		if p == nil {
			continue
		}
		p.mu.Lock()
		for _, f := range p.found {
			all = append(all, f)
		}
		p.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Job, b.Job))
	})
	return all
}

// active are the runs of Jobs that have not ended.
func (w *watch) active(namespaces []string) []string {
	var runs []string
	for _, ns := range namespaces {
		p := w.namespaces[ns]
		if p == nil {
			continue
		}
		for _, object := range p.jobs.GetStore().List() {
			if j, ok := object.(*batchv1.Job); ok && !trouble.Finished(j) && j.DeletionTimestamp == nil {
				runs = append(runs, j.Labels[job.LabelFlowRunID])
			}
		}
	}
	slices.Sort(runs)
	return slices.Compact(runs)
}

// cancelled are the Jobs that outlive a run that was cancelled then.
func (w *watch) cancelled(namespaces []string, run string, since time.Time) []found {
	var all []found
	for _, ns := range namespaces {
		p := w.namespaces[ns]
		if p == nil {
			continue
		}
		for _, j := range p.jobsOf(run) {
			if f, has := trouble.JudgeCancelled(j, since, w.rules); has {
				all = append(all, p.finding(j, f))
			}
		}
	}
	return all
}

// jobGone reports whether nothing of a run goes on any more where its claim says
// that it is. It is false while that is not known.
func (w *watch) jobGone(run string, claim prefect.Claim) bool {
	p := w.placeOf(claim)
	return p != nil && p.jobs.HasSynced() && p.pods.HasSynced() && trouble.NothingLeft(p.jobsOf(run), p.podsOf(run), w.rules)
}

// run watches until ctx ends and returns when every informer has stopped.
func (w *watch) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, p := range w.namespaces {
		all.Go(func() { p.jobs.RunWithContext(ctx) })
		all.Go(func() { p.pods.RunWithContext(ctx) })
		all.Go(func() { w.identify(ctx, p) })
	}
	all.Wait()
}

const (
	// identifyEvery is how often a namespace's UID is read anew: it changes when the
	// namespace is deleted and created again.
	identifyEvery   = 10 * time.Minute
	identifyAgain   = 10 * time.Second // after a failure
	identifyTimeout = 10 * time.Second
)

// identify keeps the UID of a namespace. A reading that fails changes nothing.
func (w *watch) identify(ctx context.Context, p *place) {
	complain := w.complaint(p.name, "the namespace; claims without a Job")
	for {
		call, cancel := context.WithTimeout(ctx, identifyTimeout)
		uid, err := w.readUID(call, p.name)
		cancel()
		pause := identifyEvery
		if err != nil {
			complain(ctx, nil, err)
			pause = identifyAgain
		} else if p.uid.Swap(uid) != uid {
			w.tell()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// placeOf is where a claim's Job is or will be; nil when that is not watched, not
// known yet, or a namespace of the same name in another cluster.
func (w *watch) placeOf(claim prefect.Claim) *place {
	p := w.namespaces[claim.Namespace]
	if p == nil {
		return nil
	}
	if uid, known := p.uid.Load().(string); !known || !claim.IsIn(p.name, uid) {
		return nil
	}
	return p
}

// listen has c told, without waiting for it, when a Job comes or goes or its trouble
// changes.
func (w *watch) listen(c chan<- struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners = append(w.listeners, c)
}

func (w *watch) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.listeners {
		select {
		case c <- struct{}{}:
		default: // it has yet to look at an earlier change, and will see this one
		}
	}
}

// lacksJob reports whether the Job of a claim is not there, and no pod is left of
// it: launchers repair the same claims. It is false for a
// claim in a place that is not watched, and before the first list is complete:
// what is not known is not trouble.
func (w *watch) lacksJob(run prefect.ClaimedRun) bool {
	p := w.placeOf(run.Claim)
	if p == nil || !p.jobs.HasSynced() {
		return false
	}
	pods := p.podsOf(run.ID)
	return !slices.ContainsFunc(pods, trouble.Executes) && !slices.ContainsFunc(p.jobsOf(run.ID), func(j *batchv1.Job) bool {
		// By attempt, not by name: that of a Job that was adopted, or of one whose name
		// was taken, is another. One that was adopted counts as long as it is of use.
		return j.Labels[job.LabelAttempt] == job.AttemptLabel(run.Claim.Attempt) || trouble.CanTake(j, pods)
	})
}

// jobWaits reports whether a claimed run has a Job that may yet take it. It is
// false while that is not known.
func (w *watch) jobWaits(run prefect.ClaimedRun) bool {
	p := w.placeOf(run.Claim)
	return p != nil && p.jobs.HasSynced() && slices.ContainsFunc(p.jobsOf(run.ID), func(j *batchv1.Job) bool {
		return trouble.CanTake(j, p.podsOf(run.ID))
	})
}

// unsynced are the namespaces whose Jobs could not be listed yet.
func (w *watch) unsynced(namespaces []string) []string {
	var out []string
	for _, ns := range namespaces {
		if p := w.namespaces[ns]; p != nil && !p.jobs.HasSynced() {
			out = append(out, ns)
		}
	}
	return out
}

// complaint logs why a namespace cannot be watched, once a minute at most: the
// informer retries for itself.
func (w *watch) complaint(namespace, what string) cache.WatchErrorHandlerWithContext {
	var last atomic.Int64
	return func(ctx context.Context, _ *cache.Reflector, err error) {
		now := time.Now().UnixNano()
		if before := last.Load(); ctx.Err() != nil || now-before < int64(time.Minute) || !last.CompareAndSwap(before, now) {
			return
		}
		w.log.WarnContext(ctx, "watching Kubernetes failed; some trouble goes unseen meanwhile", "reason", "cannot watch "+what, "namespace", namespace, "err", err)
	}
}
