package scaler

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	kwatch "k8s.io/apimachinery/pkg/watch"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/jobs/informer"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/scaler/hour"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// watch knows which Jobs of one kind of backend exist in some namespaces and which of
// them are in trouble. It keeps only what that needs of Jobs and pods.
type watch struct {
	namespaces map[string]*namespace
	marks      job.Marks
	rules      trouble.Rules
	launches   *hour.Launches // for the page
	log        *slog.Logger

	mu        sync.Mutex
	listeners []*jobListener
}

// jobListener is told which runs' Jobs came or went, or got into other trouble.
type jobListener struct {
	c     chan<- struct{}
	watch *watch
	// runs since they were taken; more than maxRuns are not told one by one.
	runs map[string]bool
	many bool
}

// maxRuns bounds the runs that a listener is told one by one before it takes them.
const maxRuns = 10_000

// namespace is one that is watched.
type namespace struct {
	*informer.Informer
	name string

	mu     sync.Mutex
	judged map[string]judgement // by Job, of those that there is something about
}

// judgement is what is known about one Job; nil where there is nothing.
type judgement struct {
	found *found
	stuck *stuck
}

// found is a Job in trouble.
type found struct {
	trouble.Finding
	Namespace, Job, Run string
	// Ended is true when no pod of it runs any more.
	Ended bool
}

// stuck is a Job that waits for its pod to begin.
type stuck struct {
	trouble.Wait
	Namespace, Job, Run string
}

func newWatch(client func(name string) informer.Client, marks job.Marks, namespaces []string, rules trouble.Rules, log *slog.Logger) *watch {
	w := &watch{namespaces: map[string]*namespace{}, marks: marks, rules: rules, launches: hour.NewLaunches(time.Now()), log: log}
	for _, name := range namespaces {
		w.namespaces[name] = w.newNamespace(name, client(name))
	}
	return w
}

func (w *watch) newNamespace(name string, client informer.Client) *namespace {
	n := &namespace{name: name, judged: map[string]judgement{}}
	n.Informer = informer.New(name, w.marks, client, informer.Hooks{
		Whole: func(j *batchv1.Job) { w.note(name, j) },
		Job: func(event kwatch.EventType, jobName, run string) {
			w.judge(n, jobName, run)
			if event == kwatch.Deleted {
				w.launches.Gone(name, jobName)
			}
			if event != kwatch.Modified {
				w.tell(run)
			}
		},
		Pod: func(_ kwatch.EventType, _, run string) {
			if n.ArePastCare(run) {
				return
			}
			for _, j := range n.JobsOf(run) {
				w.judge(n, j.Name, run)
			}
		},
		Failed: func(ctx context.Context, part informer.Part, err error) {
			w.log.WarnContext(ctx, "watching Kubernetes failed, retrying", "reason", unseen(part), "namespace", name, "err", err)
		},
		Recovered: func(ctx context.Context, part informer.Part) {
			w.log.InfoContext(ctx, "watching Kubernetes works again", "resource", string(part), "namespace", name)
		},
	})
	return n
}

// unseen says what the scaler misses while it cannot read a part.
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

// judge updates what is known about one Job. The lock keeps the watches
// of Jobs and of pods from overtaking each other.
func (w *watch) judge(n *namespace, name, run string) {
	n.mu.Lock()
	before := n.judged[name]
	var now judgement
	if j, exists := n.unspared(name, run); exists {
		pods := n.PodsOf(run)
		w.follow(n.name, j, pods)
		if f, has := trouble.Judge(j, pods, w.rules); has {
			now.found = w.finding(n, j, f)
		}
		if wait, has := trouble.Waits(j, pods, w.rules); has {
			now.stuck = &stuck{wait, n.name, j.Name, w.marks.RunOf(j)}
		}
	} else if w.launches.Follows(n.name, name) { // to its end
		if j, exists := n.Job(name); exists {
			w.follow(n.name, j, nil)
		}
	}
	if now == (judgement{}) {
		delete(n.judged, name)
	} else {
		n.judged[strings.Clone(name)] = now // it may be part of a longer text
	}
	n.mu.Unlock()
	if !reflect.DeepEqual(before, now) {
		w.tell(run)
	}
}

// unspared is a Job that has to be judged: it exists, and is not past care.
func (n *namespace) unspared(name, run string) (*batchv1.Job, bool) {
	if n.ArePastCare(run) {
		return nil, false
	}
	j, exists := n.Job(name)
	return j, exists && !trouble.PastCare(j)
}

func (w *watch) finding(n *namespace, j *batchv1.Job, f trouble.Finding) *found {
	return &found{Finding: f, Namespace: n.name, Job: j.Name, Run: w.marks.RunOf(j), Ended: trouble.Finished(j)}
}

// in are those of the namespaces that are watched, without duplicates.
func (w *watch) in(namespaces []string) []*namespace {
	var all []*namespace
	for _, ns := range slices.Compact(slices.Sorted(slices.Values(namespaces))) {
		if n := w.namespaces[ns]; n != nil {
			all = append(all, n)
		}
	}
	return all
}

// judgements are what is known about the Jobs of the namespaces.
func (w *watch) judgements(namespaces []string) []judgement {
	var all []judgement
	for _, n := range w.in(namespaces) {
		n.mu.Lock()
		all = slices.AppendSeq(all, maps.Values(n.judged))
		n.mu.Unlock()
	}
	return all
}

// troubled are the Jobs in trouble, in the order of their names.
func (w *watch) troubled(namespaces []string) []found {
	var all []found
	for _, is := range w.judgements(namespaces) {
		if is.found != nil {
			all = append(all, *is.found)
		}
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Job, b.Job))
	})
	return all
}

// stuck are the Jobs that wait for their pods to begin. The ones that have waited longest
// come first.
func (w *watch) stuck(namespaces []string) []stuck {
	var all []stuck
	for _, is := range w.judgements(namespaces) {
		if is.stuck != nil {
			all = append(all, *is.stuck)
		}
	}
	slices.SortFunc(all, func(a, b stuck) int {
		return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Job, b.Job))
	})
	return all
}

// active are the runs of Jobs that have not ended.
func (w *watch) active(namespaces []string) []string {
	var runs []string
	for _, n := range w.in(namespaces) {
		runs = append(runs, n.Active()...)
	}
	slices.Sort(runs)
	return slices.Compact(runs)
}

// ending are the Jobs of a run that should end.
func (w *watch) ending(namespaces []string, run prefect.JobRun) []found {
	var all []found
	for _, n := range w.in(namespaces) {
		for _, j := range n.JobsOf(run.ID) {
			if f, has := trouble.JudgeEnding(j, run, w.rules); has {
				all = append(all, *w.finding(n, j, f))
			}
		}
	}
	return all
}

// known counts the namespaces whose Jobs are known, and which could be told from others of
// their names: until then no claim lacks its Job.
func (w *watch) known(namespaces []string) (n int) {
	for _, is := range w.in(namespaces) {
		if is.Knows(informer.Jobs) {
			n++
		}
		if is.Knows(informer.Namespace) {
			n++
		}
	}
	return n
}

// unsynced are the namespaces whose Jobs could not be listed yet.
func (w *watch) unsynced(namespaces []string) []string {
	var all []string
	for _, n := range w.in(namespaces) {
		if !n.Knows(informer.Jobs) {
			all = append(all, n.name)
		}
	}
	return all
}

// namespaceOf is the namespace of a claim's Job. It is nil if we do not watch it, or if it
// may be one of the same name in another cluster.
func (w *watch) namespaceOf(claim prefect.Claim) *namespace {
	n := w.namespaces[claim.Namespace]
	if n == nil || !claim.IsIn(n.name, n.UID()) {
		return nil
	}
	return n
}

// isElsewhere reports whether a claim's Job is in another cluster, in a namespace with
// the name of a watched one. Launchers here do not touch retries of such runs. It is false
// while we do not know.
func (w *watch) isElsewhere(claim prefect.Claim) bool {
	n := w.namespaces[claim.Namespace]
	return n != nil && n.Knows(informer.Namespace) && !claim.IsIn(n.name, n.UID())
}

// jobGone reports whether neither Job nor pod of a run is left in the namespace of its claim.
// It is false while we do not know.
func (w *watch) jobGone(run string, claim prefect.Claim) bool {
	n := w.namespaceOf(claim)
	return n != nil && n.NothingLeft(run, w.rules)
}

// lacksJob reports whether the Job of a claim is missing and has no pod left; launchers
// repair the same claims. It is false for a claim in a namespace that we do not watch, and
// before the first list is complete.
func (w *watch) lacksJob(run prefect.ClaimedRun) bool {
	n := w.namespaceOf(run.Claim)
	if n == nil || !n.Knows(informer.Jobs) {
		return false
	}
	pods := n.PodsOf(run.ID)
	return !slices.ContainsFunc(pods, trouble.Executes) && !slices.ContainsFunc(n.JobsOf(run.ID), func(j *batchv1.Job) bool {
		// Compare attempts, not names: an adopted Job, or one whose name was taken, has
		// another name. An adopted Job counts while it can take the run.
		return j.Labels[job.LabelAttempt] == job.AttemptLabel(run.Claim.Attempt) || trouble.CanTake(j, pods)
	})
}

// jobWaits reports whether, as far as we know, a claimed run has a Job that can still take
// it.
func (w *watch) jobWaits(run prefect.ClaimedRun) bool {
	n := w.namespaceOf(run.Claim)
	return n != nil && slices.ContainsFunc(n.JobsOf(run.ID), func(j *batchv1.Job) bool {
		return trouble.CanTake(j, n.PodsOf(run.ID))
	})
}

// run watches until ctx ends.
func (w *watch) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, n := range w.namespaces {
		all.Go(func() { n.Run(ctx) })
	}
	all.Wait()
}

// listen makes the watch send to c, without waiting, when a Job comes or goes or its
// trouble changes.
func (w *watch) listen(c chan<- struct{}) *jobListener {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := &jobListener{c: c, watch: w, runs: map[string]bool{}}
	w.listeners = append(w.listeners, l)
	return l
}

func (w *watch) tell(run string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.listeners {
		if l.many = l.many || len(l.runs) >= maxRuns; l.many {
			clear(l.runs)
		} else {
			l.runs[run] = true
		}
		select {
		case l.c <- struct{}{}:
		default: // the listener has not handled an earlier change yet, and will see this one too
		}
	}
}

// take returns the runs that the listener was told of since it last took them; all if there
// were very many.
func (l *jobListener) take() (runs []string, all bool) {
	l.watch.mu.Lock()
	defer l.watch.mu.Unlock()
	runs, all = slices.Collect(maps.Keys(l.runs)), l.many
	clear(l.runs)
	l.many = false
	return runs, all
}
