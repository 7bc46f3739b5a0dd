package scaler

import (
	"cmp"
	"context"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	kwatch "k8s.io/apimachinery/pkg/watch"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
	"github.com/prefect-keda/prefect-keda/trouble/informer"
)

// watch knows which Jobs exist in some namespaces and which of them are in
// trouble. Of Jobs and pods it keeps what that takes and no more.
type watch struct {
	namespaces map[string]*place
	rules      trouble.Rules
	log        *slog.Logger

	mu        sync.Mutex
	listeners []chan<- struct{}
}

// place is one namespace.
type place struct {
	*informer.Informer
	name string

	mu    sync.Mutex
	found map[string]found // by Job
}

// found is a Job in trouble.
type found struct {
	trouble.Finding
	Namespace, Job, Run string
	// Ended is when nothing runs any more, whatever becomes of it.
	Ended bool
}

func newWatch(client func(namespace string) informer.Client, namespaces []string, rules trouble.Rules, log *slog.Logger) *watch {
	w := &watch{namespaces: map[string]*place{}, rules: rules, log: log}
	for _, ns := range namespaces {
		w.namespaces[ns] = w.newPlace(ns, client(ns))
	}
	return w
}

func (w *watch) newPlace(name string, client informer.Client) *place {
	p := &place{name: name, found: map[string]found{}}
	p.Informer = informer.New(name, client, informer.Hooks{
		Job: func(event kwatch.EventType, j *batchv1.Job) {
			w.judge(p, j.Name)
			if event != kwatch.Modified {
				w.tell()
			}
		},
		Pod: func(_ kwatch.EventType, pod *corev1.Pod) {
			for _, j := range p.JobsOf(pod.Labels[job.LabelFlowRunID]) {
				w.judge(p, j.Name)
			}
		},
		Failed: func(ctx context.Context, part informer.Part, err error) {
			w.log.WarnContext(ctx, "watching Kubernetes failed; trying on", "reason", unseen(part), "namespace", name, "err", err)
		},
		Recovered: func(ctx context.Context, part informer.Part) {
			w.log.InfoContext(ctx, "watching Kubernetes again", "resource", string(part), "namespace", name)
		},
	})
	return p
}

// unseen says what follows from a part that cannot be read.
func unseen(part informer.Part) string {
	switch part {
	case informer.Jobs:
		return "cannot watch Jobs: claims without a Job go unseen"
	case informer.Pods:
		return "cannot watch pods: Jobs in trouble go unseen"
	default:
		return "cannot read the namespace: claims without a Job go unseen"
	}
}

// judge brings what is known of one Job up to date. The lock keeps the watches
// of Jobs and of pods from overtaking each other.
func (w *watch) judge(p *place, name string) {
	p.mu.Lock()
	before, had := p.found[name]
	now, has := p.judge(name, w.rules)
	if has {
		p.found[name] = now
	} else {
		delete(p.found, name)
	}
	p.mu.Unlock()
	if has != had || has && !reflect.DeepEqual(before, now) {
		w.tell()
	}
}

func (p *place) judge(name string, rules trouble.Rules) (found, bool) {
	j, exists := p.Job(name)
	if !exists {
		return found{}, false
	}
	f, has := trouble.Judge(j, p.PodsOf(j.Labels[job.LabelFlowRunID]), rules)
	return p.finding(j, f), has
}

func (p *place) finding(j *batchv1.Job, f trouble.Finding) found {
	return found{Finding: f, Namespace: p.name, Job: j.Name, Run: j.Labels[job.LabelFlowRunID], Ended: trouble.Finished(j)}
}

// in are those of the namespaces that are watched, each once.
func (w *watch) in(namespaces []string) []*place {
	var all []*place
	for _, ns := range slices.Compact(slices.Sorted(slices.Values(namespaces))) {
		if p := w.namespaces[ns]; p != nil {
			all = append(all, p)
		}
	}
	return all
}

// troubled are the Jobs in trouble, in the order of their names.
func (w *watch) troubled(namespaces []string) []found {
	var all []found
	for _, p := range w.in(namespaces) {
		p.mu.Lock()
		for _, f := range p.found {
			all = append(all, f)
		}
		p.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Job, b.Job))
	})
	return all
}

// active are the runs of Jobs that have not ended.
func (w *watch) active(namespaces []string) []string {
	var runs []string
	for _, p := range w.in(namespaces) {
		runs = append(runs, p.Active()...)
	}
	slices.Sort(runs)
	return slices.Compact(runs)
}

// ending are the Jobs of a run that should end.
func (w *watch) ending(namespaces []string, run prefect.JobRun) []found {
	var all []found
	for _, p := range w.in(namespaces) {
		for _, j := range p.JobsOf(run.ID) {
			if f, has := trouble.JudgeEnding(j, run.State, run.StateAt, w.rules); has {
				all = append(all, p.finding(j, f))
			}
		}
	}
	return all
}

// unsynced are the namespaces whose Jobs could not be listed yet.
func (w *watch) unsynced(namespaces []string) []string {
	var all []string
	for _, p := range w.in(namespaces) {
		if !p.Knows(informer.Jobs) {
			all = append(all, p.name)
		}
	}
	return all
}

// placeOf is where a claim's Job is or will be; nil when that is not watched, or not
// known to be here and not in a namespace of the same name in another cluster.
func (w *watch) placeOf(claim prefect.Claim) *place {
	p := w.namespaces[claim.Namespace]
	if p == nil || !claim.IsIn(p.name, p.UID()) {
		return nil
	}
	return p
}

// isElsewhere reports whether a claim's Job is in another cluster, in a namespace
// named as one that is watched. Launchers here leave retries of such runs alone. It
// is false while that is not known.
func (w *watch) isElsewhere(claim prefect.Claim) bool {
	if w == nil {
		return false
	}
	p := w.namespaces[claim.Namespace]
	return p != nil && p.Knows(informer.Namespace) && !claim.IsIn(p.name, p.UID())
}

// jobGone reports whether nothing of a run goes on any more where its claim says
// that it is. It is false while that is not known.
func (w *watch) jobGone(run string, claim prefect.Claim) bool {
	p := w.placeOf(claim)
	return p != nil && p.NothingLeft(run, w.rules)
}

// lacksJob reports whether the Job of a claim is not there, and no pod is left of
// it: launchers repair the same claims. It is false for a claim in a place
// that is not watched, and before the first list is complete: what is not known is
// not trouble.
func (w *watch) lacksJob(run prefect.ClaimedRun) bool {
	p := w.placeOf(run.Claim)
	if p == nil || !p.Knows(informer.Jobs) {
		return false
	}
	pods := p.PodsOf(run.ID)
	return !slices.ContainsFunc(pods, trouble.Executes) && !slices.ContainsFunc(p.JobsOf(run.ID), func(j *batchv1.Job) bool {
		// By attempt, not by name: that of a Job that was adopted, or of one whose name
		// was taken, is another. One that was adopted counts as long as it is of use.
		return j.Labels[job.LabelAttempt] == job.AttemptLabel(run.Claim.Attempt) || trouble.CanTake(j, pods)
	})
}

// jobWaits reports whether a claimed run has a Job that may yet take it, as far as is
// known.
func (w *watch) jobWaits(run prefect.ClaimedRun) bool {
	p := w.placeOf(run.Claim)
	return p != nil && slices.ContainsFunc(p.JobsOf(run.ID), func(j *batchv1.Job) bool {
		return trouble.CanTake(j, p.PodsOf(run.ID))
	})
}

// run watches until ctx ends.
func (w *watch) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, p := range w.namespaces {
		all.Go(func() { p.Run(ctx) })
	}
	all.Wait()
}

// listen has c told, without waiting for it, when a Job comes or goes or its trouble
// changes.
func (w *watch) listen(c chan<- struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners = append(w.listeners, c)
}

func (w *watch) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.listeners {
		select {
		case c <- struct{}{}:
		default: // it has yet to look at an earlier change, and will see this one
		}
	}
}
