package scaler

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// byRun is the index of Jobs by the flow run they are for.
const byRun = "flow-run"

// watch knows which Jobs exist in some namespaces, by name and label and no
// more: metadata is all that crosses the wire, and most of that is dropped.
type watch struct {
	informers map[string]cache.SharedIndexInformer
	log       *slog.Logger

	mu        sync.Mutex
	listeners []chan<- struct{}
}

func newWatch(client metadata.Interface, namespaces []string, log *slog.Logger) (*watch, error) {
	w := &watch{informers: map[string]cache.SharedIndexInformer{}, log: log}
	jobs := client.Resource(schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"})
	for _, ns := range namespaces {
		if w.informers[ns] != nil {
			continue
		}
		// client-go's ready-made informers would link every client there is. No
		// resync: nothing here acts on a Job that did not change.
		informer := cache.NewSharedIndexInformer(listWatch(client, jobs.Namespace(ns)), &metav1.PartialObjectMetadata{}, 0,
			cache.Indexers{byRun: flowRunOf})
		err := informer.SetTransform(slim)
		if err == nil {
			err = informer.SetWatchErrorHandlerWithContext(w.complaint(ns))
		}
		if err == nil {
			_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
				AddFunc:    func(any) { w.tell() },
				DeleteFunc: func(any) { w.tell() },
			})
		}
		if err != nil {
			return nil, fmt.Errorf("watch Jobs in %s: %w", ns, err)
		}
		w.informers[ns] = informer
	}
	return w, nil
}

func listWatch(client metadata.Interface, jobs metadata.ResourceInterface) cache.ListerWatcher {
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = job.LabelFlowRunID
			return jobs.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (kwatch.Interface, error) {
			o.LabelSelector = job.LabelFlowRunID
			return jobs.Watch(ctx, o)
		},
	}, client)
}

// slim keeps of a Job what its claim is recognised by.
func slim(object any) (any, error) {
	// A tombstone stands for a Job whose deletion the watch missed.
	if t, ok := object.(cache.DeletedFinalStateUnknown); ok {
		slimmed, err := slim(t.Obj)
		t.Obj = slimmed
		return t, err
	}
	j, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return object, nil
	}
	labels := map[string]string{job.LabelFlowRunID: j.Labels[job.LabelFlowRunID]}
	if a, ok := j.Labels[job.LabelAttempt]; ok {
		labels[job.LabelAttempt] = a
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Name: j.Name, Namespace: j.Namespace, UID: j.UID, ResourceVersion: j.ResourceVersion, Labels: labels,
	}}, nil
}

func flowRunOf(object any) ([]string, error) {
	j, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return nil, nil
	}
	return []string{j.Labels[job.LabelFlowRunID]}, nil
}

// run watches until ctx ends and returns when every informer has stopped.
func (w *watch) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, informer := range w.informers {
		all.Go(func() { informer.RunWithContext(ctx) })
	}
	all.Wait()
}

// listen has c told, without waiting for it, when a Job comes or goes.
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

// lacksJob reports whether the Job of a claim is not there. It is false for a
// claim in a namespace that is not watched, and before the first list is
// complete: what is not known is not trouble.
func (w *watch) lacksJob(run prefect.ClaimedRun) bool {
	informer := w.informers[run.Claim.Namespace]
	if informer == nil || !informer.HasSynced() {
		return false
	}
	jobs, err := informer.GetIndexer().ByIndex(byRun, run.ID)
	if err != nil {
		return false
	}
	for _, object := range jobs {
		j, ok := object.(*metav1.PartialObjectMetadata)
		// By attempt too: after a collision of names the Job has another one than
		// the claim says.
		if ok && (j.Name == run.Claim.Job || j.Labels[job.LabelAttempt] == job.AttemptLabel(run.Claim.Attempt)) {
			return false
		}
	}
	return true
}

// unsynced are the namespaces whose Jobs could not be listed yet.
func (w *watch) unsynced(namespaces []string) []string {
	var out []string
	for _, ns := range namespaces {
		if informer := w.informers[ns]; informer != nil && !informer.HasSynced() {
			out = append(out, ns)
		}
	}
	return out
}

// complaint logs why a namespace cannot be watched, once a minute at most: the
// informer retries for itself.
func (w *watch) complaint(namespace string) cache.WatchErrorHandlerWithContext {
	var last atomic.Int64
	return func(ctx context.Context, _ *cache.Reflector, err error) {
		now := time.Now().UnixNano()
		if before := last.Load(); ctx.Err() != nil || now-before < int64(time.Minute) || !last.CompareAndSwap(before, now) {
			return
		}
		w.log.WarnContext(ctx, "watching Jobs failed; claims without a Job go unseen meanwhile", "namespace", namespace, "err", err)
	}
}
