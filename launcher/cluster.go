package launcher

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// JobClient is as much of client-go's typed client for the Jobs of one namespace
// as a launcher calls. A Clientset would link every kind of object there is.
type JobClient interface {
	Create(ctx context.Context, j *batchv1.Job, o metav1.CreateOptions) (*batchv1.Job, error)
	Get(ctx context.Context, name string, o metav1.GetOptions) (*batchv1.Job, error)
	List(ctx context.Context, o metav1.ListOptions) (*batchv1.JobList, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
	Patch(ctx context.Context, name string, t types.PatchType, data []byte, o metav1.PatchOptions, subresources ...string) (*batchv1.Job, error)
	Delete(ctx context.Context, name string, o metav1.DeleteOptions) error
}

// PodClient is the same for pods.
type PodClient interface {
	List(ctx context.Context, o metav1.ListOptions) (*corev1.PodList, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}

// EventClient is the same for events.
type EventClient interface {
	List(ctx context.Context, o metav1.ListOptions) (*corev1.EventList, error)
}

// Kubernetes is its API for the namespace of the Jobs.
type Kubernetes struct {
	Jobs   JobClient
	Pods   PodClient
	Events EventClient
	// Log reads what a container of a pod has written.
	Log func(ctx context.Context, pod string, o corev1.PodLogOptions) ([]byte, error)
	// UID reads the namespace's, which tells it from others of its name.
	UID func(ctx context.Context) (string, error)
}

// jobs is what the launcher needs of Kubernetes.
type jobs interface {
	// watch keeps known up to date until ctx ends.
	watch(ctx context.Context)
	// ready reports whether known knows the Jobs there are, and namespaceUID where
	// they are; and if not, why.
	ready() (bool, error)
	// namespaceUID is where our Jobs are; empty before ready.
	namespaceUID() string
	// known is what there is of a run as far as we have heard, our own Jobs included.
	known(flowRun string) Presence
	// list asks for the same; the answer is not from a cache. With an error it may be
	// part of it.
	list(ctx context.Context, flowRun string) (Presence, error)
	create(ctx context.Context, j *batchv1.Job) error
	get(ctx context.Context, name string) (*batchv1.Job, error)
	supervised
}

const (
	byFlowRun = "flow_run"
	// recentFor is how long a Job of our own is remembered without having been
	// seen in the watch, which is a matter of milliseconds.
	recentFor = time.Minute
	// identifyInterval between two readings of the namespace's UID, which changes
	// when the namespace is deleted and created again.
	identifyInterval = 10 * time.Minute
)

// cluster is the Jobs of one namespace. They are watched and not listed per pass,
// because finished Jobs stay for minutes as the fence against late launchers:
// after a burst, listing them each second would cost more than all the rest.
type cluster struct {
	Kubernetes
	log      *slog.Logger
	informer cache.SharedIndexInformer
	pods     cache.SharedIndexInformer

	mu     sync.Mutex
	recent map[string][]ownJob // by flow run
	broken error               // why the watch fails at present
	uid    string              // the namespace's
	lost   error               // why uid is not known yet
}

// ownJob is a Job we created; the watch may not have told us yet.
type ownJob struct {
	Job
	at time.Time
}

func newCluster(client Kubernetes, log *slog.Logger) (*cluster, error) {
	c := &cluster{Kubernetes: client, log: log, recent: map[string][]ownJob{}}
	c.informer = newInformer(client.Jobs, &batchv1.Job{}, c.recovered)
	if _, err := c.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: c.delivered, DeleteFunc: c.delivered}); err != nil {
		return nil, fmt.Errorf("watch Jobs: %w", err)
	}
	c.pods = newInformer(client.Pods, &corev1.Pod{}, func(context.Context) {})
	if err := c.informer.SetWatchErrorHandlerWithContext(c.failed); err != nil {
		return nil, fmt.Errorf("watch Jobs: %w", err)
	}
	if err := c.pods.SetWatchErrorHandlerWithContext(c.podsFailed()); err != nil {
		return nil, fmt.Errorf("watch pods: %w", err)
	}
	return c, nil
}

// newInformer watches what carries a flow run's label. watching is called when a
// watch begins.
func newInformer[L runtime.Object](client interface {
	List(ctx context.Context, o metav1.ListOptions) (L, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}, kind runtime.Object, watching func(context.Context),
) cache.SharedIndexInformer {
	informer := cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		// The reflector asks with resource version "0": an answer from the API
		// server's cache is recent enough, since names are checked on creation.
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = job.LabelFlowRunID
			return client.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = job.LabelFlowRunID
			w, err := client.Watch(ctx, o)
			if err == nil {
				watching(ctx)
			}
			return w, err
		},
	}, client), kind, 0, cache.Indexers{byFlowRun: func(obj any) ([]string, error) {
		o, ok := obj.(metav1.Object)
		if !ok {
			return nil, fmt.Errorf("index %T: not an object", obj)
		}
		return []string{o.GetLabels()[job.LabelFlowRunID]}, nil
	}})
	_ = informer.SetTransform(slim) // refused only once it runs
	return informer
}

// slim keeps what is planned by and judged.
func slim(obj any) (any, error) {
	switch o := obj.(type) {
	case *batchv1.Job:
		return trouble.SlimJob(o), nil
	case *corev1.Pod:
		return trouble.SlimPod(o), nil
	}
	return obj, nil // a tombstone
}

func (c *cluster) failed(ctx context.Context, _ *cache.Reflector, err error) {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return // the reflector lists anew by itself
	}
	c.mu.Lock()
	first := c.broken == nil
	c.broken = err
	c.mu.Unlock()
	if !first {
		return
	}
	c.log.WarnContext(ctx, "cannot watch Jobs; trying on. If this is a matter of permissions, the launcher's Role must allow list and watch on jobs", "err", err)
}

func (c *cluster) recovered(ctx context.Context) {
	c.mu.Lock()
	was := c.broken
	c.broken = nil
	c.mu.Unlock()
	if was != nil {
		c.log.InfoContext(ctx, "watching Jobs again")
	}
}

func (c *cluster) watch(ctx context.Context) {
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { c.pods.RunWithContext(ctx) })
	beside.Go(func() { c.identify(ctx) })
	c.informer.RunWithContext(ctx)
}

// identify keeps the namespace's UID. A reading that fails changes nothing.
func (c *cluster) identify(ctx context.Context) {
	for failures := 0; ; {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		uid, err := c.UID(call)
		cancel()
		pause := identifyInterval
		c.mu.Lock()
		if err == nil {
			c.uid, failures = uid, 0
		} else if failures++; c.uid == "" {
			pause = backoff(failures)
		}
		first := c.lost == nil
		c.lost = err
		c.mu.Unlock()
		if err != nil && first && ctx.Err() == nil {
			c.log.WarnContext(ctx, "cannot read the namespace of the Jobs; trying on", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (c *cluster) namespaceUID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.uid
}

func (c *cluster) ready() (bool, error) {
	synced := c.informer.HasSynced()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !synced:
		return false, c.broken
	case c.uid == "":
		return false, c.lost
	}
	return true, nil
}

func (c *cluster) known(flowRun string) Presence {
	found := presenceOf(indexed[*batchv1.Job](c.informer, flowRun), indexed[*corev1.Pod](c.pods, flowRun))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, own := range c.recent[flowRun] {
		told := slices.ContainsFunc(found.Jobs, func(j Job) bool { return j.Name == own.Name })
		if !told && time.Since(own.at) <= recentFor {
			found.Jobs = append(found.Jobs, own.Job)
		}
	}
	return found
}

// delivered forgets a Job of our own of which the watch has told. Should it be
// deleted, it is gone for us too.
func (c *cluster) delivered(object any) {
	if t, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = t.Obj // stands for a Job whose deletion the watch missed
	}
	j, ok := object.(*batchv1.Job)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	run := j.Labels[job.LabelFlowRunID]
	if left := slices.DeleteFunc(c.recent[run], func(own ownJob) bool { return own.Name == j.Name }); len(left) > 0 {
		c.recent[run] = left
	} else {
		delete(c.recent, run)
	}
}

func (c *cluster) list(ctx context.Context, flowRun string) (Presence, error) {
	jobs, pods, err := c.inspect(ctx, flowRun)
	return presenceOf(jobs, pods), err
}

func (c *cluster) create(ctx context.Context, j *batchv1.Job) error {
	_, err := c.Jobs.Create(ctx, j, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create Job %s: %w", j.Name, err)
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for run, own := range c.recent {
		if now.Sub(own[len(own)-1].at) > recentFor {
			delete(c.recent, run)
		}
	}
	run := j.Labels[job.LabelFlowRunID]
	if slices.ContainsFunc(indexed[*batchv1.Job](c.informer, run), func(known *batchv1.Job) bool { return known.Name == j.Name }) {
		return nil // the watch was quicker than the answer
	}
	c.recent[run] = append(c.recent[run], ownJob{jobOf(j, nil), now})
	return nil
}

func (c *cluster) get(ctx context.Context, name string) (*batchv1.Job, error) {
	j, err := c.Jobs.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read Job %s: %w", name, err)
	}
	return j, nil
}

func presenceOf(jobs []*batchv1.Job, pods []*corev1.Pod) Presence {
	found := Presence{Alive: slices.ContainsFunc(pods, trouble.Executes)}
	for _, j := range jobs {
		found.Jobs = append(found.Jobs, jobOf(j, pods))
	}
	return found
}

func jobOf(j *batchv1.Job, pods []*corev1.Pod) Job {
	return Job{
		Name: j.Name, Attempt: j.Labels[job.LabelAttempt], CanTake: trouble.CanTake(j, pods), Leaving: trouble.Leaving(j),
	}
}
