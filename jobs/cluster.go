package jobs

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

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/jobs/informer"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// JobClient is the part of client-go's typed client that a launcher calls for the Jobs of
// one namespace. A Clientset would link every kind of object.
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

// SecretClient is the same for Secrets.
type SecretClient interface {
	Create(ctx context.Context, s *corev1.Secret, o metav1.CreateOptions) (*corev1.Secret, error)
	Patch(ctx context.Context, name string, t types.PatchType, data []byte, o metav1.PatchOptions, subresources ...string) (*corev1.Secret, error)
	Delete(ctx context.Context, name string, o metav1.DeleteOptions) error
}

// Client is the Kubernetes API for one namespace.
type Client struct {
	Jobs   JobClient
	Pods   informer.Lister[*corev1.PodList]
	Events EventClient
	// Secrets are needed for Jobs that bring one.
	Secrets SecretClient
	// Log opens what a container of a pod has written; ctx bounds reading it too.
	Log func(ctx context.Context, pod string, o corev1.PodLogOptions) (io.ReadCloser, error)
	// UID reads the namespace's UID, which differs from that of others of its name.
	UID func(ctx context.Context) (string, error)
	// MayUse asks RBAC whether the launcher may use a service account for a flow's pod.
	MayUse func(ctx context.Context, serviceAccount string) (bool, error)
}

// Job is a Kubernetes Job, as far as launching its run depends on it.
type Job struct {
	Namespace, Name string
	// Attempt is its label's value.
	Attempt string
	// CanTake is as in package trouble. A Job may last longer, by seconds or, with a
	// sidecar that does not end, for ever.
	CanTake bool
	// Terminating: deleted or being ended, but its pods may still run.
	Terminating bool
}

// Presence is a run's Jobs and pods in the cluster.
type Presence struct {
	Jobs []Job
	// Alive: a pod executes the run, or may yet, even if its Job is gone.
	Alive bool
}

// GoesOn reports whether a pod executes the run or a Job may yet take it.
func (p Presence) GoesOn() bool {
	return p.Alive || slices.ContainsFunc(p.Jobs, func(j Job) bool { return j.CanTake })
}

// RecentFor is how long a Job of our own is remembered until the watch has told of it,
// which takes milliseconds.
const RecentFor = time.Minute

// Cluster knows and writes the Jobs of some namespaces. It watches them, because finished
// Jobs stay for minutes as the fence against late launchers: after a burst, listing them
// every second would cost more than all other requests.
type Cluster struct {
	marks job.Marks
	// spaces begin with the home namespace.
	spaces []*space

	mu     sync.Mutex
	recent map[string][]ownJob // by flow run
}

// ownJob is a Job that we created and that the watch may not have told of yet.
type ownJob struct {
	Job
	at time.Time
}

// New makes no request yet; Watch begins. Jobs are known by the marks. The home namespace is
// the one of Jobs that name none.
func New(home string, further []string, client func(namespace string) Client, marks job.Marks, log *slog.Logger) *Cluster {
	c := &Cluster{marks: marks, recent: map[string][]ownJob{}}
	for _, name := range append([]string{home}, further...) {
		if !slices.ContainsFunc(c.spaces, func(s *space) bool { return s.name == name }) {
			c.spaces = append(c.spaces, c.newSpace(name, client(name), log))
		}
	}
	return c
}

// Watch keeps the cluster up to date until ctx ends.
func (c *Cluster) Watch(ctx context.Context) {
	var all sync.WaitGroup
	for _, s := range c.spaces {
		all.Go(func() { s.informer.Run(ctx) })
	}
	all.Wait()
}

// NamespaceUID is the home namespace's UID; empty until it was read.
func (c *Cluster) NamespaceUID() string { return c.spaces[0].informer.UID() }

// Further are the other namespaces, as far as they are known.
func (c *Cluster) Further() prefect.Namespaces {
	further := prefect.Namespaces{}
	for _, s := range c.spaces[1:] {
		if uid := s.informer.UID(); uid != "" {
			further[s.name] = uid
		}
	}
	return further
}

// Ready reports whether the Jobs and the namespaces are known, or why the home namespace is
// not. Another one that does not exist, or that we may not read, is not waited for: no Job
// is created there until it can be read.
func (c *Cluster) Ready() (bool, error) {
	for i, s := range c.spaces {
		known, err := s.isKnown()
		switch {
		case known, i > 0 && isBarred(err):
		case i > 0:
			return false, nil
		default:
			return false, err
		}
	}
	return true, nil
}

// Known is the run's presence by the watch, with the Jobs that we created lately.
func (c *Cluster) Known(flowRun string) Presence {
	var found Presence
	for _, s := range c.spaces {
		found = found.with(s.presences.of(flowRun, func() Presence {
			return PresenceOf(s.informer.JobsOf(flowRun), s.informer.PodsOf(flowRun))
		}))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, own := range c.recent[flowRun] {
		told := slices.ContainsFunc(found.Jobs, func(j Job) bool { return j.Name == own.Name && j.Namespace == own.Namespace })
		if !told && time.Since(own.at) <= RecentFor {
			found.Jobs = append(found.Jobs, own.Job)
		}
	}
	return found
}

func (p Presence) with(other Presence) Presence {
	return Presence{Jobs: slices.Concat(p.Jobs, other.Jobs), Alive: p.Alive || other.Alive}
}

// delivered forgets a Job of our own that the watch has told of, so that we notice when
// it is deleted.
func (c *Cluster) delivered(namespace, name, run string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.recent[run]) == 0 {
		return
	}
	if left := slices.DeleteFunc(c.recent[run], func(own ownJob) bool { return own.Name == name && own.Namespace == namespace }); len(left) > 0 {
		c.recent[run] = left
	} else {
		delete(c.recent, run)
	}
}

// remember keeps a Job that we created until the watch tells of it.
func (c *Cluster) remember(s *space, j *batchv1.Job) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for run, own := range c.recent {
		if now.Sub(own[len(own)-1].at) > RecentFor {
			delete(c.recent, run)
		}
	}
	run := c.marks.RunOf(j)
	if slices.ContainsFunc(s.informer.JobsOf(run), func(known *batchv1.Job) bool { return known.Name == j.Name }) {
		return // the watch was quicker than the answer
	}
	own := ownJob{Of(j, nil), now}
	own.Namespace = s.name
	c.recent[run] = append(c.recent[run], own)
}

// List asks the API server for the run's presence.
func (c *Cluster) List(ctx context.Context, flowRun string) (Presence, error) {
	jobs, pods, err := c.Inspect(ctx, flowRun)
	return PresenceOf(jobs, pods), err
}

// Try creates a Job in a dry run.
func (c *Cluster) Try(ctx context.Context, j *batchv1.Job) error {
	s, err := c.at(j.Namespace)
	if err == nil {
		_, err = s.client.Jobs.Create(ctx, j, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	}
	if err != nil {
		return fmt.Errorf("create Job %s in a dry run: %w", j.Name, err)
	}
	return nil
}

// Get asks the API server for a Job; without a namespace, in the home namespace.
func (c *Cluster) Get(ctx context.Context, namespace, name string) (j *batchv1.Job, err error) {
	s, err := c.at(namespace)
	if err == nil {
		j, err = s.client.Jobs.Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("read Job %s: %w", name, err)
	}
	return j, nil
}

// PresenceOf sums up a run's Jobs and pods.
func PresenceOf(jobs []*batchv1.Job, pods []*corev1.Pod) Presence {
	found := Presence{Alive: slices.ContainsFunc(pods, trouble.Executes)}
	for _, j := range jobs {
		found.Jobs = append(found.Jobs, Of(j, pods))
	}
	return found
}

// Of sums up a Job, given its run's pods.
func Of(j *batchv1.Job, pods []*corev1.Pod) Job {
	return Job{
		Namespace: j.Namespace, Name: j.Name, Attempt: j.Labels[job.LabelAttempt], CanTake: trouble.CanTake(j, pods), Terminating: trouble.Terminating(j, pods),
	}
}
