// Package informer keeps what is known of the Jobs of flow runs and of their pods
// in one namespace. What is asked of them again and again is answered from here,
// and not by the API server.
//
// It runs two of client-go's informers and adds what those leave undone: they
// tell nobody of refused connections, and sleep through the end of their context.
// It judges nothing.
package informer

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// Lister is as much of client-go's typed client for the objects of one kind in
// one namespace as is called here; L is the kind's list.
type Lister[L runtime.Object] interface {
	List(ctx context.Context, o metav1.ListOptions) (L, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}

// Client reads one namespace.
type Client struct {
	Jobs Lister[*batchv1.JobList]
	Pods Lister[*corev1.PodList]
	// UID reads the namespace's, which tells it from those of its name in other
	// clusters.
	UID func(ctx context.Context) (string, error)
}

// Part is one of the things that are read. Each may fail without the others.
type Part string

// The parts.
const (
	Jobs      Part = "jobs"
	Pods      Part = "pods"
	Namespace Part = "namespace" // its UID
)

// Hooks are called as things become known, those of one part one after another.
// Any may be nil.
type Hooks struct {
	// Job and Pod are called for what comes (Added), changes (Modified) or goes
	// (Deleted), after the answers to questions have changed.
	Job func(watch.EventType, *batchv1.Job)
	Pod func(watch.EventType, *corev1.Pod)
	// Identified is called when the namespace's UID has become known, or another.
	Identified func()
	// Failed is called when a part begins to fail and every 10 minutes while it
	// does, Recovered when it no longer does.
	Failed    func(context.Context, Part, error)
	Recovered func(context.Context, Part)
}

// Informer is what is known of one namespace. The Jobs and pods it gives are
// shared and not to be changed, and have no more than trouble.SlimJob and SlimPod
// leave of them.
type Informer struct {
	namespace  string
	client     Client
	hooks      Hooks
	jobs, pods cache.SharedIndexInformer
	uid        atomic.Value // string; none before it was read
	outages    map[Part]*outage
}

// New asks nothing yet.
func New(namespace string, client Client, hooks Hooks) *Informer {
	i := &Informer{namespace: namespace, client: client, hooks: hooks, outages: map[Part]*outage{}}
	for _, p := range []Part{Jobs, Pods, Namespace} {
		i.outages[p] = &outage{part: p, hooks: hooks}
	}
	i.jobs = newInformer(client.Jobs, &batchv1.Job{}, trouble.SlimJob, hooks.Job, i.outages[Jobs])
	i.pods = newInformer(client.Pods, &corev1.Pod{}, trouble.SlimPod, hooks.Pod, i.outages[Pods])
	return i
}

// Patience is how long Run may take to return after its context ended.
const Patience = time.Second

// Run keeps what is known up to date until ctx ends. It is called once.
func (i *Informer) Run(ctx context.Context) {
	var parts sync.WaitGroup
	parts.Go(func() { i.jobs.RunWithContext(ctx) })
	parts.Go(func() { i.pods.RunWithContext(ctx) })
	parts.Go(func() { i.identify(ctx) })
	ended := make(chan struct{})
	go func() { parts.Wait(); close(ended) }()
	<-ctx.Done()
	// While connections are refused, client-go's reflector sleeps for up to a minute
	// between two tries to stream a list, and does not look at ctx (v0.36, watchList
	// in reflector.go). It asks nothing any more when it wakes, and a process that is
	// to end has other things to do than to wait for that.
	select {
	case <-ended:
	case <-time.After(Patience):
	}
}

// byRun is the index of Jobs and of pods by the flow run they are for.
const byRun = "flow-run"

// newInformer is for what carries a flow run's label: client-go's ready-made ones
// would link every client there is. No resync, since nothing follows from what did
// not change.
func newInformer[L runtime.Object, T interface {
	metav1.Object
	runtime.Object
}](client Lister[L], kind T, slim func(T) T, changed func(watch.EventType, T), o *outage,
) cache.SharedIndexInformer {
	informer := cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(listWatch(client, o), client), kind, 0, cache.Indexers{
		byRun: func(object any) ([]string, error) {
			t, ok := object.(T)
			if !ok {
				return nil, fmt.Errorf("index %T by flow run: it is no %T", object, kind)
			}
			return []string{t.GetLabels()[job.LabelFlowRunID]}, nil
		},
	})
	on := func(event watch.EventType, object any) {
		if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = tombstone.Obj // stands for an object whose deletion the watch missed
		}
		if t, ok := object.(T); ok && changed != nil {
			changed(event, t)
		}
	}
	// What follows is refused only once it runs.
	_ = informer.SetTransform(func(object any) (any, error) {
		if t, ok := object.(T); ok {
			return slim(t), nil
		}
		return object, nil
	})
	_ = informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) { o.failed(ctx, err) })
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { on(watch.Added, object) },
		UpdateFunc: func(_, object any) { on(watch.Modified, object) },
		DeleteFunc: func(object any) { on(watch.Deleted, object) },
	})
	return informer
}

// listWatch tells o how the calls end. client-go's handler of watch errors is not
// called for refused connections and 429, which it tries again by itself.
func listWatch[L runtime.Object](client Lister[L], o *outage) *cache.ListWatch {
	return &cache.ListWatch{
		// The reflector asks with resource version "0": an answer from the API server's
		// cache is recent enough, since names are checked on creation.
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.LabelSelector = job.LabelFlowRunID
			list, err := client.List(ctx, options)
			if err != nil {
				o.failed(ctx, fmt.Errorf("list %s: %w", o.part, err))
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector = job.LabelFlowRunID
			w, err := client.Watch(ctx, options)
			switch {
			case err == nil:
				o.ended(ctx)
			case options.SendInitialEvents == nil || !fallsBack(err):
				o.failed(ctx, fmt.Errorf("watch %s: %w", o.part, err))
			}
			return w, err
		},
	}
}
