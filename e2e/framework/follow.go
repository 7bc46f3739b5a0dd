package framework

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Followed are the pods of some namespaces: their logs, also of those that are gone, and how
// their containers ended.
type Followed struct {
	client  kubernetes.Interface
	dir     string
	reading sync.WaitGroup
	stop    func()
	mu      sync.Mutex
	known   map[string]bool
	logs    []Log
	ends    []string
	unread  []string
}

// Log is that of one container.
type Log struct{ Path, Image string }

// FollowPods follows the pods of our processes in namespaces, and keeps their logs in dir. End
// stops it.
func (s *Suite) FollowPods(dir string, namespaces ...string) (*Followed, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &Followed{client: s.Client, dir: dir, known: map[string]bool{}}
	var factories []informers.SharedInformerFactory
	for _, namespace := range namespaces {
		factory := informers.NewSharedInformerFactoryWithOptions(s.Client, 0, informers.WithNamespace(namespace))
		see := func(obj any) {
			if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = unknown.Obj
			}
			if pod, ok := obj.(*corev1.Pod); ok {
				f.see(ctx, pod)
			}
		}
		// The error is that of an informer that has ended.
		_, _ = factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: see, UpdateFunc: func(_, now any) { see(now) }, DeleteFunc: see,
		})
		factory.StartWithContext(ctx)
		factories = append(factories, factory)
	}
	f.stop = func() {
		cancel()
		for _, factory := range factories {
			factory.Shutdown()
		}
		f.reading.Wait()
	}
	return f, nil
}

// see reads the log of each container that has begun, and notes those that ended badly.
func (f *Followed) see(ctx context.Context, pod *corev1.Pod) {
	if len(pod.Status.ContainerStatuses) == 0 {
		return
	}
	status := pod.Status.ContainerStatuses[0]
	if status.State.Waiting == nil {
		name := fmt.Sprintf("%s_%s_%d.log", pod.Namespace, pod.Name, status.RestartCount)
		if f.isNew(name) {
			f.mu.Lock()
			f.logs = append(f.logs, Log{filepath.Join(f.dir, name), pod.Spec.Containers[0].Image})
			f.mu.Unlock()
			f.reading.Go(func() { f.read(ctx, pod, name) })
		}
	}
	for _, end := range []*corev1.ContainerStateTerminated{status.State.Terminated, status.LastTerminationState.Terminated} {
		if end != nil && end.ExitCode != 0 && f.isNew(end.ContainerID) {
			f.mu.Lock()
			f.ends = append(f.ends, fmt.Sprintf("%s ended with code %d (%s) at %s", pod.Name, end.ExitCode, end.Reason, end.FinishedAt.Format(time.TimeOnly)))
			f.mu.Unlock()
		}
	}
}

func (f *Followed) isNew(what string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.known[what]
	f.known[what] = true
	return !known
}

// read copies a container's log until it ends.
func (f *Followed) read(ctx context.Context, pod *corev1.Pod, name string) {
	log, err := f.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	if err == nil {
		defer log.Close()
		var file *os.File
		if file, err = os.Create(filepath.Join(f.dir, name)); err == nil {
			_, err = io.Copy(file, log)
			err = errors.Join(err, file.Close())
		}
	}
	if err != nil && ctx.Err() == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.unread = append(f.unread, fmt.Sprintf("%s: %v", name, err))
	}
}

// End stops following. It returns all logs, which of them could not be read to their end, and
// which containers ended badly.
func (f *Followed) End() (logs []Log, unread, ends []string) {
	f.stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.Sort(f.ends)
	return f.logs, f.unread, f.ends
}
