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
	// (Deleted), after the answers to questions have changed, with their names and runs.
	Job func(e watch.EventType, name, run string)
	Pod func(e watch.EventType, name, run string)
	// Identified is called when the namespace's UID is known or has changed.
	Identified func()
	// Failed is called when a part begins to fail and every 10 minutes while it fails,
	// Recovered when it works again.
	Failed    func(context.Context, Part, error)
	Recovered func(context.Context, Part)
}

// Informer knows one namespace. Its Jobs and pods have only the fields of trouble.SlimJob and
// SlimPod.
type Informer struct {
	client                 Client
	hooks                  Hooks
	jobs                   *store[*batchv1.Job]
	pods                   *store[*corev1.Pod]
	jobsKeeper, podsKeeper cache.Controller
	uid                    atomic.Value // string
	outages                map[Part]*outage
}

// New makes no request yet. The informer knows what has the label of marks.Run.
func New(namespace string, marks job.Marks, client Client, hooks Hooks) *Informer {
	i := &Informer{client: client, hooks: hooks, outages: map[Part]*outage{}}
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
	i.jobs = newStore(namespace, marks, traits[*batchv1.Job]{
		fresh: func() *batchv1.Job { return &batchv1.Job{} }, slim: slimJob,
		isPastCare: trouble.PastCare,
		isActive:   func(j *batchv1.Job) bool { return !trouble.Finished(j) && j.DeletionTimestamp == nil },
	}, hooks.Job)
	i.pods = newStore(namespace, marks, traits[*corev1.Pod]{
		fresh: func() *corev1.Pod { return &corev1.Pod{} }, slim: trouble.SlimPod,
		isActive: func(*corev1.Pod) bool { return false }, isPastCare: func(*corev1.Pod) bool { return false }, // nobody asks
	}, hooks.Pod)
	i.jobsKeeper = keeper(client.Jobs, i.jobs, i.outages[Jobs])
	i.podsKeeper = keeper(client.Pods, i.pods, i.outages[Pods])
	return i
}

// page is how many objects are listed at a time.
const page = 500

// Patience is how long Run may take to return after its context ended.
const Patience = time.Second

// Run watches until ctx ends. It is called once.
func (i *Informer) Run(ctx context.Context) {
	var parts sync.WaitGroup
	parts.Go(func() { i.jobsKeeper.RunWithContext(ctx) })
	parts.Go(func() { i.podsKeeper.RunWithContext(ctx) })
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

// keeper keeps a store up to date. It is what client-go's ready-made informers are made of,
// which would link every client, hold the objects unpacked and index them at a price. It
// needs no resync, because only changes matter.
func keeper[L runtime.Object, T object](client Lister[L], s *store[T], o *outage) cache.Controller {
	return cache.New(&cache.Config{
		Queue:                        cache.NewRealFIFOWithOptions(cache.RealFIFOOptions{KnownObjects: s, Transformer: s.transform}),
		ListerWatcher:                cache.ToListWatcherWithWatchListSemantics(listWatch(client, s, o), client),
		ObjectType:                   s.fresh(),
		Process:                      s.process,
		WatchErrorHandlerWithContext: func(ctx context.Context, _ *cache.Reflector, err error) { o.failed(ctx, err) },
		WatchListPageSize:            page,
	})
}

// listWatch tells o how the calls end. client-go does not call its handler of watch errors
// for refused connections and 429, which it tries again by itself.
func listWatch[L runtime.Object, T object](client Lister[L], s *store[T], o *outage) *cache.ListWatch {
	return &cache.ListWatch{
		// API servers are asked for a list that cannot stream one, or failed to. The reflector
		// names a resource version. With "0" an API server ignores the limit: tens of thousands
		// of whole Jobs would take hundreds of megabytes, on both sides. With another one and a
		// limit it answers how things were then, and after a watch that was too old they would
		// stay so.
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.LabelSelector = s.marks.Run
			options.ResourceVersion = ""
			list, err := client.List(ctx, options)
			if err != nil {
				o.failed(ctx, fmt.Errorf("list %s: %w", o.part, err))
				return nil, err
			}
			return s.packed(list)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector = s.marks.Run
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
