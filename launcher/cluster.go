package launcher

import (
	"context"
	"fmt"
	"log/slog"
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
}

// jobs is what the launcher needs of Kubernetes.
type jobs interface {
	// watch keeps known up to date until ctx ends.
	watch(ctx context.Context)
	// ready reports whether known knows the Jobs there are, and if not, why.
	ready() (bool, error)
	// known are a run's Jobs as far as we have heard, our own included.
	known(flowRun string) []Job
	// list asks for a run's Jobs; the answer is not from a cache.
	list(ctx context.Context, flowRun string) ([]Job, error)
	create(ctx context.Context, j *batchv1.Job) error
	get(ctx context.Context, name string) (*batchv1.Job, error)
	supervised
}

const (
	byFlowRun = "flow_run"
	// recentFor is how long a Job of our own is remembered without having been
	// seen in the watch, which is a matter of milliseconds.
	recentFor = time.Minute
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
}

// ownJob is a Job we created; the watch may not have told us yet.
type ownJob struct {
	Job
	at time.Time
}

func newCluster(client Kubernetes, log *slog.Logger) (*cluster, error) {
	c := &cluster{Kubernetes: client, log: log, recent: map[string][]ownJob{}}
	c.informer = newInformer(client.Jobs, &batchv1.Job{}, c.recovered)
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
	var pods sync.WaitGroup
	defer pods.Wait()
	pods.Go(func() { c.pods.RunWithContext(ctx) })
	c.informer.RunWithContext(ctx)
}

func (c *cluster) ready() (bool, error) {
	if c.informer.HasSynced() {
		return true, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return false, c.broken
}

func (c *cluster) known(flowRun string) []Job {
	objects, err := c.informer.GetIndexer().ByIndex(byFlowRun, flowRun)
	if err != nil {
		return nil // only an index that does not exist; ours does
	}
	var found []Job
	names := map[string]bool{}
	for _, o := range objects {
		if j, ok := o.(*batchv1.Job); ok {
			found = append(found, jobOf(j))
			names[j.Name] = true
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, own := range c.recent[flowRun] {
		if !names[own.Name] {
			found = append(found, own.Job)
		}
	}
	return found
}

func (c *cluster) list(ctx context.Context, flowRun string) ([]Job, error) {
	list, err := c.Jobs.List(ctx, metav1.ListOptions{LabelSelector: job.LabelFlowRunID + "=" + flowRun})
	if err != nil {
		return nil, fmt.Errorf("list the Jobs of flow run %s: %w", flowRun, err)
	}
	var found []Job
	for i := range list.Items {
		found = append(found, jobOf(&list.Items[i]))
	}
	return found, nil
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
	c.recent[run] = append(c.recent[run], ownJob{jobOf(j), now})
	return nil
}

func (c *cluster) get(ctx context.Context, name string) (*batchv1.Job, error) {
	j, err := c.Jobs.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read Job %s: %w", name, err)
	}
	return j, nil
}

func jobOf(j *batchv1.Job) Job {
	return Job{
		Name: j.Name, Attempt: j.Labels[job.LabelAttempt], Active: !trouble.Finished(j), Leaving: trouble.Leaving(j),
	}
}
