// Package informer holds the Jobs of flow runs and their pods in one namespace, so that
// frequent questions need no API server.
//
// It runs two of client-go's informers, which report no refused connections and sleep
// through the end of their context, and makes up for both. It judges nothing.
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

// Lister is the part of client-go's typed client that is called here, for one kind of
// object in one namespace; L is the kind's list.
type Lister[L runtime.Object] interface {
	List(ctx context.Context, o metav1.ListOptions) (L, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}

// Client reads one namespace.
type Client struct {
	Jobs Lister[*batchv1.JobList]
	Pods Lister[*corev1.PodList]
	// UID reads the namespace's UID, which differs from that of its name in another cluster.
	UID func(ctx context.Context) (string, error)
}

// Part is one thing to read. Each may fail without the others.
type Part string

// The parts.
const (
	Jobs      Part = "jobs"
	Pods      Part = "pods"
	Namespace Part = "namespace" // its UID
)

// Hooks are called when something becomes known, one at a time for each part. Any may be
// nil.
type Hooks struct {
	// Whole is called with each Job as the API server sends it, in any order and more than
	// once, before it is reduced to what is kept.
	Whole func(*batchv1.Job)
	// Job and Pod are called for objects that come (Added), change (Modified) or go
	// (Deleted), after the answers to questions have changed.
	Job func(watch.EventType, *batchv1.Job)
	Pod func(watch.EventType, *corev1.Pod)
	// Identified is called when the namespace's UID is known or has changed.
	Identified func()
	// Failed is called when a part begins to fail and every 10 minutes while it fails,
	// Recovered when it works again.
	Failed    func(context.Context, Part, error)
	Recovered func(context.Context, Part)
}

// Informer knows one namespace. Its Jobs and pods are shared, so nobody may change them,
// and have only the fields of trouble.SlimJob and SlimPod.
type Informer struct {
	namespace  string
	marks      job.Marks
	client     Client
	hooks      Hooks
	jobs, pods cache.SharedIndexInformer
	uid        atomic.Value // string
	outages    map[Part]*outage
}

// New makes no request yet. The informer knows what has the label of marks.Run.
func New(namespace string, marks job.Marks, client Client, hooks Hooks) *Informer {
	i := &Informer{namespace: namespace, marks: marks, client: client, hooks: hooks, outages: map[Part]*outage{}}
	for _, p := range []Part{Jobs, Pods, Namespace} {
		i.outages[p] = &outage{part: p, hooks: hooks}
	}
	slimJob := trouble.SlimJob
	if hooks.Whole != nil {
		slimJob = func(j *batchv1.Job, m job.Marks) *batchv1.Job {
			hooks.Whole(j)
			return trouble.SlimJob(j, m)
		}
	}
	i.jobs = newInformer(client.Jobs, &batchv1.Job{}, marks, slimJob, hooks.Job, i.outages[Jobs])
	i.pods = newInformer(client.Pods, &corev1.Pod{}, marks, trouble.SlimPod, hooks.Pod, i.outages[Pods])
	return i
}

// Patience is how long Run may take to return after its context ended.
const Patience = time.Second

// Run watches until ctx ends. It is called once.
func (i *Informer) Run(ctx context.Context) {
	var parts sync.WaitGroup
	parts.Go(func() { i.jobs.RunWithContext(ctx) })
	parts.Go(func() { i.pods.RunWithContext(ctx) })
	parts.Go(func() { i.identify(ctx) })
	ended := make(chan struct{})
	go func() { parts.Wait(); close(ended) }()
	<-ctx.Done()
	// While connections are refused, client-go's reflector sleeps for up to a minute
	// between two tries to stream a list, and ignores ctx (v0.36, watchList in
	// reflector.go). It makes no request after that, so a process need not wait for it.
	select {
	case <-ended:
	case <-time.After(Patience):
	}
}

// byRun is the index of Jobs and of pods by the flow run they are for.
const byRun = "flow-run"

// newInformer is for objects with a flow run's label. client-go's ready-made informers
// would link every client. It needs no resync, because only changes matter.
func newInformer[L runtime.Object, T interface {
	metav1.Object
	runtime.Object
}](client Lister[L], kind T, marks job.Marks, slim func(T, job.Marks) T, changed func(watch.EventType, T), o *outage,
) cache.SharedIndexInformer {
	informer := cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(listWatch(client, marks, o), client), kind, 0, cache.Indexers{
		byRun: func(object any) ([]string, error) {
			t, ok := object.(T)
			if !ok {
				return nil, fmt.Errorf("index %T by flow run: it is no %T", object, kind)
			}
			return []string{marks.RunOf(t)}, nil
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
	// These calls fail only after the informer was started.
	_ = informer.SetTransform(func(object any) (any, error) {
		if t, ok := object.(T); ok {
			return slim(t, marks), nil
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

// listWatch tells o how the calls end. client-go does not call its handler of watch errors
// for refused connections and 429, which it tries again by itself.
func listWatch[L runtime.Object](client Lister[L], marks job.Marks, o *outage) *cache.ListWatch {
	return &cache.ListWatch{
		// The reflector asks with resource version "0": an answer from the API server's
		// cache is recent enough, since names are checked on creation.
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.LabelSelector = marks.Run
			list, err := client.List(ctx, options)
			if err != nil {
				o.failed(ctx, fmt.Errorf("list %s: %w", o.part, err))
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector = marks.Run
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
