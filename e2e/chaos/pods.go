package chaos

import (
	"context"
	"fmt"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// pods plays the pods of Jobs, which no scheduler takes: each begins, works and ends as a
// flow's pod does, and the Job controller sees it. It remembers every Job and every beginning.
type pods struct {
	client    kubernetes.Interface
	namespace string
	world     World
	plan      *Plan
	sortOf    func(run string) (Sort, bool)

	playing sync.WaitGroup
	mu      sync.Mutex
	known   map[types.UID]bool
	gone    map[types.UID]bool
	jobs    map[string][]string // by run, in their order
	refused map[string][]string // what Prefect said to pods
	begun   map[string]int
	now     map[string]int // pods of a run that execute now
	wrong   map[string][]string
}

func newPods(client kubernetes.Interface, namespace string, world World, plan *Plan, sortOf func(string) (Sort, bool)) *pods {
	return &pods{
		client: client, namespace: namespace, world: world, plan: plan, sortOf: sortOf,
		known: map[types.UID]bool{}, gone: map[types.UID]bool{}, jobs: map[string][]string{}, refused: map[string][]string{}, begun: map[string]int{}, now: map[string]int{}, wrong: map[string][]string{},
	}
}

// run plays until ctx ends.
func (p *pods) run(ctx context.Context) error {
	factory := informers.NewSharedInformerFactoryWithOptions(p.client, 0, informers.WithNamespace(p.namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = p.world.Label() }))
	_, err := factory.Batch().V1().Jobs().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(obj any) {
		if j, ok := obj.(*batchv1.Job); ok && p.isNew(j.UID) {
			p.mu.Lock()
			run := j.Labels[p.world.Label()]
			p.jobs[run] = append(p.jobs[run], fmt.Sprintf("%s Job %s (%s)", time.Now().Format(moment), j.Name, j.UID))
			p.mu.Unlock()
		}
	}})
	if err != nil {
		return err
	}
	_, err = factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if pod, ok := obj.(*corev1.Pod); ok && p.isNew(pod.UID) {
				p.playing.Go(func() { p.play(ctx, pod) })
			}
		},
		DeleteFunc: func(obj any) {
			if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = unknown.Obj
			}
			if pod, ok := obj.(*corev1.Pod); ok {
				p.mu.Lock()
				p.gone[pod.UID] = true
				p.mu.Unlock()
			}
		},
	})
	if err != nil {
		return err
	}
	factory.StartWithContext(ctx)
	<-ctx.Done()
	factory.Shutdown()
	p.playing.Wait()
	return nil
}

func (p *pods) isNew(object types.UID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.known[object]
	p.known[object] = true
	return !known
}

// play is the life of one pod.
func (p *pods) play(ctx context.Context, pod *corev1.Pod) {
	run := pod.Labels[p.world.Label()]
	sort, known := p.sortOf(run)
	if !known {
		p.blame(run, "a Job for a run that nobody made")
		return
	}
	dice := p.plan.Dice(fmt.Sprint("pod ", p.count(run), " of ", sort))
	if !pause(ctx, time.Duration(200+dice.IntN(1800))*time.Millisecond) || !p.tell(ctx, pod, corev1.PodRunning) {
		return
	}
	n, began := p.begin(ctx, run)
	ok := true
	if began {
		pause(ctx, time.Duration(100+dice.IntN(1500))*time.Millisecond)
		alive := !p.isGone(pod.UID)
		if alive {
			ok = p.world.End(run, sort, n)
		}
		p.mu.Lock()
		p.now[run]--
		p.mu.Unlock()
		if !alive {
			return
		}
	}
	phase := corev1.PodSucceeded
	if !ok {
		phase = corev1.PodFailed
	}
	p.tell(ctx, pod, phase)
	if began && !ok && pause(ctx, time.Duration(500+dice.IntN(2500))*time.Millisecond) {
		p.world.Restart(run)
	}
}

func (p *pods) count(run string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begun[run]
}

func (p *pods) begin(ctx context.Context, run string) (n int, began bool) {
	for {
		whyNot, wait := p.world.Begin(run)
		if whyNot == "" {
			break
		}
		if wait <= 0 || !pause(ctx, min(wait, time.Second)) {
			p.mu.Lock()
			p.refused[run] = append(p.refused[run], fmt.Sprintf("%s its pod may not begin: %s", time.Now().Format(moment), whyNot))
			p.mu.Unlock()
			return 0, false
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun[run]++
	p.now[run]++
	if p.now[run] > 1 {
		p.wrong[run] = append(p.wrong[run], time.Now().Format(moment)+" two pods execute it at once")
	}
	return p.begun[run], true
}

// tell writes a pod's phase, as its kubelet does. It reports whether the pod is still there.
func (p *pods) tell(ctx context.Context, pod *corev1.Pod, phase corev1.PodPhase) bool {
	at := metav1.Now()
	status := corev1.ContainerStatus{Name: pod.Spec.Containers[0].Name}
	switch phase {
	case corev1.PodRunning:
		status.Started, status.State.Running = new(true), &corev1.ContainerStateRunning{StartedAt: at}
	case corev1.PodSucceeded:
		status.State.Terminated = &corev1.ContainerStateTerminated{Reason: "Completed", FinishedAt: at}
	default:
		status.State.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", FinishedAt: at}
	}
	for ctx.Err() == nil && !p.isGone(pod.UID) {
		now, err := p.client.CoreV1().Pods(p.namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && now.UID != pod.UID {
			return false
		}
		if err == nil {
			now.Status.Phase, now.Status.ContainerStatuses = phase, []corev1.ContainerStatus{status}
			if now.Status.StartTime == nil {
				now.Status.StartTime = &at
			}
			if _, err = p.client.CoreV1().Pods(p.namespace).UpdateStatus(ctx, now, metav1.UpdateOptions{}); err == nil {
				return true
			}
			if apierrors.IsInvalid(err) {
				p.blame(pod.Labels[p.world.Label()], err.Error())
				return false
			}
		}
		pause(ctx, 300*time.Millisecond)
	}
	return false
}

func (p *pods) isGone(pod types.UID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone[pod]
}

func (p *pods) blame(run, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrong[run] = append(p.wrong[run], what)
}

// pause reports whether d is over before ctx.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
