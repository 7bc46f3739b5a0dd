package launcher

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/trouble"
	"github.com/prefect-keda/prefect-keda/trouble/informer"
)

// JobClient is as much of client-go's typed client for the Jobs of one namespace
// as a launcher calls. A Clientset would link every kind of object there is.
type JobClient interface {
	informer.Lister[*batchv1.JobList]
	Create(ctx context.Context, j *batchv1.Job, o metav1.CreateOptions) (*batchv1.Job, error)
	Get(ctx context.Context, name string, o metav1.GetOptions) (*batchv1.Job, error)
	Patch(ctx context.Context, name string, t types.PatchType, data []byte, o metav1.PatchOptions, subresources ...string) (*batchv1.Job, error)
	Delete(ctx context.Context, name string, o metav1.DeleteOptions) error
}

// EventClient is the same for events.
type EventClient interface {
	List(ctx context.Context, o metav1.ListOptions) (*corev1.EventList, error)
}

// Kubernetes is its API for the namespace of the Jobs.
type Kubernetes struct {
	Jobs   JobClient
	Pods   informer.Lister[*corev1.PodList]
	Events EventClient
	// Log opens what a container of a pod has written; ctx bounds reading it too.
	Log func(ctx context.Context, pod string, o corev1.PodLogOptions) (io.ReadCloser, error)
	// UID reads the namespace's, which tells it from others of its name.
	UID func(ctx context.Context) (string, error)
	// MayUse asks RBAC whether the launcher may use a service account there, for a
	// flow's pod.
	MayUse func(ctx context.Context, serviceAccount string) (bool, error)
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
	tries
}

// recentFor is how long a Job of our own is remembered without having been seen in
// the watch, which is a matter of milliseconds.
const recentFor = time.Minute

// cluster is the Jobs of one namespace. They are watched and not listed per pass,
// because finished Jobs stay for minutes as the fence against late launchers:
// after a burst, listing them each second would cost more than all the rest.
type cluster struct {
	Kubernetes
	log      *slog.Logger
	informer *informer.Informer

	mu     sync.Mutex
	recent map[string][]ownJob // by flow run
}

// ownJob is a Job we created; the watch may not have told us yet.
type ownJob struct {
	Job
	at time.Time
}

func newCluster(client Kubernetes, namespace string, log *slog.Logger) *cluster {
	c := &cluster{Kubernetes: client, log: log, recent: map[string][]ownJob{}}
	c.informer = informer.New(namespace, informer.Client{Jobs: client.Jobs, Pods: client.Pods, UID: client.UID},
		informer.Hooks{Job: c.delivered, Failed: c.failed, Recovered: c.recovered})
	return c
}

func (c *cluster) failed(ctx context.Context, part informer.Part, err error) {
	switch part {
	case informer.Jobs:
		c.log.WarnContext(ctx, "cannot watch Jobs; trying on. If this is a matter of permissions, the launcher's Role must allow list and watch on jobs", "err", err)
	case informer.Pods:
		c.log.WarnContext(ctx, "cannot watch pods; runs are not told of their pods' trouble. If this is a matter of permissions, the launcher's Role must allow list and watch on pods", "err", err)
	case informer.Namespace:
		c.log.WarnContext(ctx, "cannot read the namespace of the Jobs; trying on", "err", err)
	}
}

func (c *cluster) recovered(ctx context.Context, part informer.Part) {
	switch part {
	case informer.Jobs:
		c.log.InfoContext(ctx, "watching Jobs again")
	case informer.Pods:
		c.log.InfoContext(ctx, "watching pods again")
	case informer.Namespace:
		c.log.InfoContext(ctx, "the namespace of the Jobs can be read again")
	}
}

func (c *cluster) watch(ctx context.Context) { c.informer.Run(ctx) }

func (c *cluster) namespaceUID() string { return c.informer.UID() }

func (c *cluster) ready() (bool, error) {
	for _, part := range []informer.Part{informer.Jobs, informer.Namespace} {
		if !c.informer.Knows(part) {
			return false, c.informer.Err(part)
		}
	}
	return true, nil
}

func (c *cluster) known(flowRun string) Presence {
	found := presenceOf(c.informer.JobsOf(flowRun), c.informer.PodsOf(flowRun))
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
func (c *cluster) delivered(_ watch.EventType, j *batchv1.Job) {
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
	if slices.ContainsFunc(c.informer.JobsOf(run), func(known *batchv1.Job) bool { return known.Name == j.Name }) {
		return nil // the watch was quicker than the answer
	}
	c.recent[run] = append(c.recent[run], ownJob{jobOf(j, nil), now})
	return nil
}

func (c *cluster) try(ctx context.Context, j *batchv1.Job) error {
	if _, err := c.Jobs.Create(ctx, j, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		return fmt.Errorf("create Job %s in a dry run: %w", j.Name, err)
	}
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
		Name: j.Name, Attempt: j.Labels[job.LabelAttempt], CanTake: trouble.CanTake(j, pods), Leaving: trouble.Leaving(j, pods),
	}
}
