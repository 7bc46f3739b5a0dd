package scaler

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/scaler/hour"
	"github.com/prefect-keda/prefect-keda/scaler/page"
	"github.com/prefect-keda/prefect-keda/trouble"
)

const (
	// rememberEvery is how often the timelines of the page are continued.
	rememberEvery = time.Second
	// scalerMemory and launcherMemory are about what they were measured to take
	// (docs/prefect3-numbers.md).
	scalerMemory   = 10_000_000
	launcherMemory = 47_000_000
)

// remember continues the timelines of the page.
func (s *service) remember(now time.Time) {
	objects := s.registry.all()
	all := make(map[string]hour.Entry, len(objects))
	counts := map[string][]hour.Count{}
	for name, p := range s.pollers {
		counts[name] = p.watch.launches.Counts(p.connection.JobNamespaces)
	}
	for _, so := range objects {
		name, t := so.String(), so.trigger
		e := hour.Entry{Connection: t.Connection, Replaces: t.replaces()}
		if v, err := s.peek(so, now); err == nil {
			e.Sample = hour.Sample{Known: true, Due: int(v.Due), Demand: int(v.Demand()), Launchers: int(v.launchers(t))}
			for _, n := range v.Troubled {
				e.Troubled += int(n)
			}
			for _, c := range counts[t.Connection] {
				if t.Scope.Takes(c.Place) {
					e.Waiting, e.Running = e.Waiting+c.Waiting, e.Running+c.Running
				}
			}
		}
		if other, has := all[name]; has {
			e.Sample = e.Plus(other.Sample)
			e.Replaces = max(e.Replaces, other.Replaces)
		}
		all[name] = e
	}
	s.timelines.Round(now, all)
}

// replaces is how many pods would always be up without us: one for each work pool, as far as
// they are named.
func (t trigger) replaces() int { return max(1, len(t.Scope.Pools)) }

// saved compares what was up with what would have been.
func (s *service) saved() page.Saved {
	totals, since := s.timelines.Totals()
	saved := page.Saved{Since: since, ScalerBytes: scalerMemory, LauncherBytes: launcherMemory}
	for name, p := range s.pollers {
		r := p.connection.Replaces
		if total, known := totals[name]; known && r.Name != "" {
			saved.Of = append(saved.Of, page.SavedOf{
				Connection: name, Replaces: r.Name, ReplacedBytes: r.Memory, ReplacedFor: total.Replaced.Hours(), LaunchersFor: total.Launchers.Hours(),
			})
		}
	}
	return saved
}

// follow tells the page's last runs how far a Job is.
func (w *watch) follow(namespace string, j *batchv1.Job, pods []*corev1.Pod) {
	w.launches.Follow(hour.Seen{
		Namespace: namespace, Name: j.Name, Run: w.marks.RunOf(j), Created: j.CreationTimestamp.Time, Stage: stageOf(j, pods),
	}, time.Now())
}

// note tells them what the Job's launcher wrote on it, and of its end. A Job that we keep does
// not have the one, and is not judged after the other.
func (w *watch) note(namespace string, j *batchv1.Job) {
	if l, ok := job.NotedLaunch(j); ok {
		w.launches.Note(namespace, j.Name, l, time.Now())
	}
	if trouble.Finished(j) {
		w.follow(namespace, j, nil)
	}
}

func stageOf(j *batchv1.Job, pods []*corev1.Pod) hour.Stage {
	switch {
	case !trouble.GivenUpAt(j).IsZero():
		return hour.Failed
	case trouble.Finished(j):
		return hour.Succeeded
	}
	for _, p := range pods {
		if p.Status.Phase == corev1.PodRunning && metav1.IsControlledBy(p, j) {
			return hour.Running
		}
	}
	return hour.Waiting
}
