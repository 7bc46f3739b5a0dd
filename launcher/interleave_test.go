package launcher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// The core promise, checked exhaustively: two launchers act on one run, every
// call they make is a point where the other may go first, and at any call (for
// as many faults as a scenario allows) the caller may die before or after it
// took effect, the answer may be lost, the call may be refused, the server may apply
// it late, or the launcher may be stopped for seconds, or for so long that a third one
// finishes its work, the pod runs, and the Job is deleted. It may be stopped between
// calls, too: while it renders, and before it reckons with deadlines. It is the real
// code that runs; only the order is ours.

// gate is a launcher waiting to make a call, or the server or a pod to do something.
type gate struct {
	actor string
	op    string
	write bool
	pass  chan verdict
	// local: it is no call, so nobody but its launcher can tell when it happens.
	local bool
	// free are the verdicts on who is no launcher; they are no faults.
	free []verdict
}

// verdict is what becomes of a call.
type verdict int

const (
	proceed verdict = iota
	refuse          // not applied, and the caller is told nothing certain
	loseAnswer
	dieBefore
	dieAfter
	freezeBefore // stopped until everybody else is done
	freezeAfter
	pause    // stopped for longer than a pod needs
	late     // applied late, beside what else goes on
	lateLost // the same, and the answer is lost
)

func (v verdict) String() string {
	return [...]string{"", " refused", " answer lost", " dies before", " dies after", " frozen before", " frozen after", " pauses", " to a slow server", " to a slow server, answer lost"}[v]
}

// chooser walks a tree of choices depth first, one path per execution.
type chooser struct {
	path  []int
	width []int
	depth int
}

func (c *chooser) choose(n int) int {
	if c.depth == len(c.path) {
		c.path, c.width = append(c.path, 0), append(c.width, n)
	}
	if c.width[c.depth] != n {
		panic("an execution took another course than the same choices before")
	}
	c.depth++
	return c.path[c.depth-1]
}

// next goes to the next path; false when all have been walked.
func (c *chooser) next() bool {
	c.depth = 0
	for i := len(c.path) - 1; i >= 0; i-- {
		if c.path[i]+1 < c.width[i] {
			c.path[i]++
			c.path, c.width = c.path[:i+1], c.width[:i+1]
			return true
		}
	}
	return false
}

const (
	// A pod needs so long to start, and so long for its flow.
	podStarts, podRuns = time.Second, 2500 * time.Millisecond
	pauseLasts         = 5 * time.Second
)

// store is Kubernetes as far as names and versions go.
type store struct {
	mu      sync.Mutex
	jobs    map[string]*batchv1.Job
	pods    []*corev1.Pod
	created []string // "run attempt", for ever
	// beside are those that were created beside a pod of the run that lived.
	beside []string
	// start is told of a Job's pod; nil where nothing comes of Jobs.
	start func(*batchv1.Job)
}

func (s *store) create(j *batchv1.Job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs[j.Name] != nil {
		return apierrors.NewAlreadyExists(jobsResource, j.Name)
	}
	j = j.DeepCopy() // as sent
	s.jobs[j.Name] = j.DeepCopy()
	s.created = append(s.created, j.Labels[job.LabelFlowRunID]+" "+j.Labels[job.LabelAttempt])
	if slices.ContainsFunc(s.pods, trouble.Executes) {
		s.beside = append(s.beside, j.Name)
	}
	if s.start != nil {
		s.start(j)
	}
	return nil
}

func (s *store) of(run string) Presence {
	s.mu.Lock()
	defer s.mu.Unlock()
	var jobs []*batchv1.Job
	for _, name := range slices.Sorted(maps.Keys(s.jobs)) {
		if j := s.jobs[name]; j.Labels[job.LabelFlowRunID] == run {
			jobs = append(jobs, j)
		}
	}
	return presenceOf(jobs, s.pods)
}

func (s *store) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.created)
}

func (s *store) finishAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.jobs {
		complete(j)
	}
}

// eyes are one launcher's view of Prefect and Kubernetes: each call goes through
// a gate. blind eyes' watch never tells anything.
type eyes struct {
	*memory
	store *store
	actor string
	gates chan *gate   // nil: free to go
	thaw  chan verdict // ends a freezeAfter
	blind bool
	// uid is that of its cluster's namespace; refusal is what creating a Job comes to.
	uid     string
	refusal error
	// all is called once want Jobs exist.
	want int
	all  func()
	// prefix is the name of its template; empty for the default.
	prefix string
	// stood: it might have been stopped since its last call.
	stood bool
}

// at waits at the gate and returns what is to become of the call.
func (y *eyes) at(op string, write bool) verdict {
	if y.gates == nil {
		return proceed
	}
	y.stood = false
	return y.wait(&gate{actor: y.actor, op: op, write: write})
}

// aside is a step that is no call. To be stopped at one is as good as at the next,
// up to the next call.
func (y *eyes) aside(op string) {
	if y.gates != nil && !y.stood {
		y.stood = true
		y.wait(&gate{actor: y.actor, op: op, local: true})
	}
}

func (y *eyes) wait(g *gate) verdict {
	g.pass = make(chan verdict)
	y.gates <- g
	v := <-g.pass
	switch v {
	case dieBefore:
		runtime.Goexit()
	case freezeBefore:
		<-g.pass
		return proceed
	case freezeAfter:
		y.thaw = g.pass
	case pause:
		time.Sleep(pauseLasts)
		return proceed
	}
	return v
}

func (y *eyes) call(op string, write bool, do func() error) error {
	return y.follow(y.at(op, write), do)
}

func (y *eyes) follow(v verdict, do func() error) error {
	switch v {
	case refuse:
		return errLost
	case loseAnswer:
		_ = do()
		return errLost
	case dieAfter:
		_ = do()
		runtime.Goexit()
	case freezeAfter:
		defer func() { <-y.thaw }()
	}
	return do()
}

func (y *eyes) FlowRun(ctx context.Context, id string) (r prefect.FlowRun, err error) {
	err = y.call("read", false, func() error { r, err = y.memory.FlowRun(ctx, id); return err })
	return r, err
}

func (y *eyes) History(ctx context.Context, id string, attempt prefect.Attempt) (h prefect.History, err error) {
	err = y.call("history", false, func() error { h, err = y.memory.History(ctx, id, attempt); return err })
	return h, err
}

func (y *eyes) Restore(ctx context.Context, run prefect.FlowRun, to prefect.State) error {
	return y.call("restore", true, func() error { return y.memory.Restore(ctx, run, to) })
}

func (y *eyes) Claim(ctx context.Context, run prefect.FlowRun, c prefect.Claim) (r prefect.ClaimResult, err error) {
	v := y.at("claim", true)
	if (v == late || v == lateLost) && ctx.Err() == nil && !prefect.TooLateToSend(ctx) { // else it is not even sent
		return y.claimLate(ctx, v, run, c)
	}
	if lost := y.follow(v, func() error { r, err = y.memory.Claim(ctx, run, c); return nil }); lost != nil {
		return prefect.ClaimResult{Answer: prefect.Unknown}, nil
	}
	return r, err
}

// claimLate has the server apply the claim when it gets to it, whether or not the
// launcher still waits for the answer.
func (y *eyes) claimLate(ctx context.Context, v verdict, run prefect.FlowRun, c prefect.Claim) (prefect.ClaimResult, error) {
	type answer struct {
		prefect.ClaimResult
		error
	}
	answers := make(chan answer, 1)
	go func() { //nolint:contextcheck // the server goes on by itself
		y.wait(&gate{actor: "server of " + y.actor, op: "applies the claim", write: true, free: []verdict{proceed, pause}})
		r, err := y.memory.Claim(context.Background(), run, c)
		answers <- answer{r, err}
	}()
	lost := prefect.ClaimResult{Answer: prefect.Unknown, Reason: "no answer"}
	if v == lateLost {
		return lost, nil
	}
	select {
	case a := <-answers:
		return a.ClaimResult, a.error
	case <-ctx.Done():
		return lost, nil
	}
}

// Render is the launcher's renderer.
func (y *eyes) Render(ctx context.Context, run prefect.FlowRun) (*batchv1.Job, error) {
	y.aside("renders")
	if y.prefix != "" {
		return titled(y.prefix).Render(ctx, run)
	}
	return template{}.Render(ctx, run)
}

func (y *eyes) Fail(ctx context.Context, run prefect.FlowRun, message string) error {
	return y.call("fail", true, func() error { return y.memory.Fail(ctx, run, message) })
}

func (y *eyes) HandBack(ctx context.Context, run prefect.FlowRun, at time.Time, message string) error {
	return y.call("hand back", true, func() error { return y.memory.HandBack(ctx, run, at, message) })
}

func (y *eyes) watch(context.Context) {}
func (y *eyes) ready() (bool, error)  { return true, nil }

// namespaceUID is read before a claim is made up, and when one is looked at.
func (y *eyes) namespaceUID() string {
	y.aside("decides")
	return y.uid
}

func (y *eyes) known(run string) Presence {
	if y.blind {
		return Presence{}
	}
	return y.store.of(run)
}

func (y *eyes) list(ctx context.Context, run string) (found Presence, err error) {
	err = y.call("list", false, func() error { found = y.store.of(run); return ctx.Err() })
	return found, err
}

func (y *eyes) create(ctx context.Context, j *batchv1.Job) error {
	return y.call("create", true, func() error {
		if err := errors.Join(ctx.Err(), y.refusal); err != nil {
			return err
		}
		err := y.store.create(j)
		if y.all != nil && y.store.count() == y.want {
			y.all()
		}
		return err
	})
}

func (y *eyes) try(context.Context, *batchv1.Job) error { return nil }

func (y *eyes) get(ctx context.Context, name string) (j *batchv1.Job, err error) {
	err = y.call("get", false, func() error {
		y.store.mu.Lock()
		defer y.store.mu.Unlock()
		if j = y.store.jobs[name].DeepCopy(); j == nil {
			return apierrors.NewNotFound(jobsResource, name)
		}
		return ctx.Err()
	})
	return j, err
}

func (y *eyes) Log(ctx context.Context, entries []prefect.LogEntry) error {
	return y.call("log", true, func() error { return y.memory.Log(ctx, entries) })
}

func (y *eyes) troubled(r trouble.Rules, _ prefect.Supervision) []Troubled {
	y.store.mu.Lock()
	defer y.store.mu.Unlock()
	var all []Troubled
	for _, name := range slices.Sorted(maps.Keys(y.store.jobs)) {
		j := y.store.jobs[name]
		if f, found := trouble.Judge(j, y.store.pods, r); found && !y.blind {
			all = append(all, Troubled{f, name, j.Labels[job.LabelFlowRunID]})
		}
	}
	return all
}

func (y *eyes) active() []string { return nil }

func (y *eyes) inspect(ctx context.Context, run string) (jobs []*batchv1.Job, pods []*corev1.Pod, err error) {
	err = y.call("inspect", false, func() error {
		y.store.mu.Lock()
		defer y.store.mu.Unlock()
		for _, name := range slices.Sorted(maps.Keys(y.store.jobs)) {
			jobs = append(jobs, y.store.jobs[name].DeepCopy())
		}
		pods = slices.Clone(y.store.pods)
		return ctx.Err()
	})
	return jobs, pods, err
}

func (y *eyes) note(ctx context.Context, j *batchv1.Job, n trouble.Note) error {
	return y.call("note", true, func() error {
		return y.store.change(ctx, j, func(stored *batchv1.Job) error {
			if stored.ResourceVersion != j.ResourceVersion {
				return apierrors.NewConflict(jobsResource, j.Name, errors.New("it has changed"))
			}
			stored.Annotations = map[string]string{trouble.Annotation: n.String()}
			return nil
		})
	})
}

func (y *eyes) release(ctx context.Context, j *batchv1.Job, n trouble.Note, _ ending) error {
	return y.call("release", true, func() error {
		return y.store.change(ctx, j, func(stored *batchv1.Job) error {
			stored.Annotations = map[string]string{trouble.Annotation: n.String()}
			return nil
		})
	})
}

func (y *eyes) limit(context.Context, *batchv1.Job, int32) error { return nil }

func (y *eyes) remove(ctx context.Context, j *batchv1.Job) error {
	return y.call("remove", true, func() error {
		y.store.mu.Lock()
		defer y.store.mu.Unlock()
		if ctx.Err() == nil {
			delete(y.store.jobs, j.Name)
		}
		return ctx.Err()
	})
}

func (y *eyes) events(context.Context, types.UID) ([]corev1.Event, error) { return nil, nil }

func (y *eyes) lastLines(context.Context, string, string, bool, int) (string, error) { return "", nil }

// change is a write to a Job, which makes a new version of it.
func (s *store) change(ctx context.Context, j *batchv1.Job, do func(*batchv1.Job) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	stored := s.jobs[j.Name]
	if stored == nil {
		return apierrors.NewNotFound(jobsResource, j.Name)
	}
	if err := ctx.Err(); err != nil {
		return err // not sent
	}
	if err := do(stored); err != nil {
		return err
	}
	stored.ResourceVersion += "+"
	return nil
}

// passOnce is one pass of a launcher, with its tries one after another.
func passOnce(ctx context.Context, l *Launcher, y *eyes) {
	y.at("look", false)
	w := World{Now: time.Now(), NamespaceUID: y.uid, Present: map[string]Presence{}}
	var errs [2]error
	var due prefect.DueRuns
	due, errs[0] = y.memory.Due(ctx, prefect.DueQuery{Until: w.Now, Limit: 10, Namespace: l.Namespace, NamespaceUID: y.uid})
	w.Due = due.Runs
	w.Claimed, errs[1] = y.memory.Claimed(ctx, nil)
	if errors.Join(errs[:]...) != nil {
		return
	}
	for _, r := range slices.Concat(w.Due, w.Claimed) {
		w.Present[r.ID] = y.known(r.ID)
	}
	w.Troubled = y.troubled(l.Rules, prefect.Supervision{})
	for _, a := range NewPlan(l.Options, w).Actions {
		e := &errand{Action: a}
		for {
			o := l.perform(ctx, e)
			if o.again.IsZero() {
				break
			}
			time.Sleep(time.Until(o.again))
		}
	}
}

// scenario is one run and what may happen to it.
type scenario struct {
	name   string
	setup  func() (*memory, *store)
	blind  bool
	faults int
	// apart has each of the two in a cluster of its own, with namespaces of one name.
	apart bool
	// living has pods run, for some seconds each, and launchers pause for longer.
	living bool
	// prefixes are the names of the three launchers' templates.
	prefixes []string
	// slow: the server may apply claims late.
	slow bool
	// orphan is a pod that lives on without its Job until something ends it.
	orphan bool
	// unlike: it makes a difference which of the two goes first.
	unlike bool
	// refused: Kubernetes takes no Job of the first launcher, and the second comes
	// when that gives up.
	refused bool
	// restarted: the run fails the first time, and its author starts it again.
	restarted bool
	// want is what Jobs were created, whatever happened; where it is left out, any
	// one.
	want []string
	// ends are the states the run may end in before its pod runs.
	ends []prefect.StateType
}

func emptyStore() *store { return &store{jobs: map[string]*batchv1.Job{}} }

func storeWith(r *runBuilder) *store {
	s := emptyStore()
	j, _ := template{}.Render(context.Background(), r.FlowRun)
	_ = s.create(j)
	return s
}

func TestEveryInterleavingOfTwoLaunchers(t *testing.T) {
	long := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // the bubble's beginning
	for _, s := range []scenario{
		{
			name: "due run, one API process", faults: 2,
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)), emptyStore() },
			want:  []string{"r v1"}, ends: []prefect.StateType{prefect.Submitted},
		},
		{
			name: "due run, API replicas, a watch that tells nothing", faults: 2, blind: true,
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)).replicated(), emptyStore() },
			want:  []string{"r v1"}, ends: []prefect.StateType{prefect.Submitted},
		},
		{
			name: "running run with a due retry", faults: 2,
			setup: func() (*memory, *store) {
				return newMemory(run("r").retrying("t", 4, long)).replicated(), emptyStore()
			},
			want: []string{"r retry-t-v4"}, ends: []prefect.StateType{prefect.Running},
		},
		{
			name: "claim of a dead launcher", faults: 2, blind: true,
			setup: func() (*memory, *store) {
				return newMemory(run("r").version(2).claimedBy("dead", "v1", "prefect-job-x", long.Add(-time.Minute))).replicated(), emptyStore()
			},
			want: []string{"r v1"}, ends: []prefect.StateType{prefect.Submitted},
		},
		{
			name: "rescheduled run whose Job still waits, a watch that tells nothing", faults: 2, blind: true,
			setup: func() (*memory, *store) {
				return newMemory(run("r").version(3).due(long)).replicated(), storeWith(run("r"))
			},
			want: []string{"r v1"}, ends: []prefect.StateType{prefect.Submitted},
		},
		{
			name: "due run, two clusters, one API process", faults: 2, apart: true,
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)), emptyStore() },
			want:  []string{"r v1"}, ends: []prefect.StateType{prefect.Submitted},
		},
		{
			name: "due run, API replicas, launchers that pause while the pod runs", faults: 2, blind: true, living: true,
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)).replicated(), emptyStore() },
			want:  []string{"r v1"}, ends: []prefect.StateType{prefect.Success},
		},
		{
			name: "a claim given back by one launcher and repaired by the other", faults: 1, living: true, refused: true,
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)), emptyStore() },
			ends:  []prefect.StateType{prefect.Success},
		},
		{
			name: "running run with a due retry, two clusters", faults: 2, apart: true, unlike: true,
			setup: func() (*memory, *store) {
				return newMemory(run("r").retrying("t", 4, long).lastFrom("cluster 1")).replicated(), emptyStore()
			},
			want: []string{"r retry-t-v4"}, ends: []prefect.StateType{prefect.Running},
		},
		{
			name: "due run, API replicas, unequal templates", faults: 2, blind: true, prefixes: []string{"a", "b", "c"},
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)).replicated(), emptyStore() },
			want:  []string{"r v1"}, ends: []prefect.StateType{prefect.Submitted},
		},
		{
			name: "claim of a dead launcher, unequal templates", faults: 1, blind: true, prefixes: []string{"a", "b", "c"},
			setup: func() (*memory, *store) {
				return newMemory(run("r").version(2).claimedBy("dead", "v1", "d-01234567", long.Add(-time.Minute))).replicated(), emptyStore()
			},
			want: []string{"r v1"}, ends: []prefect.StateType{prefect.Submitted},
		},
		{
			name: "running run with a due retry, unequal templates", faults: 1, blind: true, prefixes: []string{"a", "b", "c"},
			setup: func() (*memory, *store) {
				r := run("r").retrying("t", 4, long).lastFrom("cluster 0")
				r.LastClaim.Job = "d-01234567"
				return newMemory(r).replicated(), emptyStore()
			},
			want: []string{"r retry-t-v4"}, ends: []prefect.StateType{prefect.Running},
		},
		{
			name: "due run, API replicas of which any may be slow", faults: 2, blind: true, living: true, slow: true,
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)).replicated(), emptyStore() },
			want:  []string{"r v1"}, ends: []prefect.StateType{prefect.Success},
		},
		{
			name: "due run that is started again, API replicas of which any may be slow", faults: 1, blind: true, living: true, slow: true, restarted: true,
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)).replicated(), emptyStore() },
			ends:  []prefect.StateType{prefect.Success},
		},
		{
			name: "due run, API replicas of which any may be slow, unequal templates", faults: 1, blind: true, slow: true, prefixes: []string{"a", "b", "c"},
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)).replicated(), emptyStore() },
			want:  []string{"r v1"}, ends: []prefect.StateType{prefect.Submitted},
		},
		{
			name: "run started again while a pod lives whose Job is gone", faults: 1, blind: true, orphan: true, unlike: true,
			setup: func() (*memory, *store) { return newMemory(run("r").version(5).due(long)).replicated(), emptyStore() },
			want:  []string{"r v5"}, ends: []prefect.StateType{prefect.Submitted},
		},
		{
			name: "due retry while a pod lives whose Job is gone", blind: true, orphan: true, unlike: true,
			setup: func() (*memory, *store) {
				return newMemory(run("r").version(3).retrying("t", 4, long)).replicated(), emptyStore()
			},
			want: []string{"r retry-t-v4"}, ends: []prefect.StateType{prefect.Running},
		},
		{
			name: "claim of a dead launcher while a pod lives whose Job is gone", faults: 1, blind: true, orphan: true, unlike: true,
			setup: func() (*memory, *store) {
				return newMemory(run("r").version(2).claimedBy("dead", "v1", "prefect-job-x", long.Add(-time.Minute))).replicated(), emptyStore()
			},
			want: []string{"r v1"}, ends: []prefect.StateType{prefect.Submitted},
		},
		{
			name: "a run its author got wrong", faults: 2,
			setup: func() (*memory, *store) {
				wrong := run("r").due(long)
				wrong.RunConfig = []byte("wrong")
				return newMemory(wrong).replicated(), emptyStore()
			},
			ends: []prefect.StateType{prefect.Failed},
		},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			c, executions := &chooser{}, 0
			for more := true; more && !t.Failed(); more = c.next() {
				executions++
				synctest.Test(t, func(t *testing.T) { s.execute(t, c) })
			}
			t.Logf("%d executions", executions)
		})
	}
}

// execute runs one path: two launchers, then a third that cleans up, then the
// pod, then whoever was frozen.
func (s scenario) execute(t *testing.T, c *chooser) {
	m, st := s.setup()
	clusters := []*store{st}
	if s.apart {
		clusters = append(clusters, emptyStore())
	}
	gates := make(chan *gate)
	ctx := t.Context()
	var trace []string
	var actors, pods sync.WaitGroup
	for _, st := range clusters {
		if s.living {
			st.start = func(j *batchv1.Job) {
				restart := s.restarted && len(st.created) == 1
				pods.Go(func() { live(ctx, m, st, j, restart) })
			}
		}
	}
	launcher := func(name string, cluster int, gates chan *gate) (*Launcher, *eyes) {
		cluster %= len(clusters)
		y := &eyes{memory: m, store: clusters[cluster], uid: fmt.Sprint("cluster ", cluster), actor: name, gates: gates, blind: s.blind}
		if s.prefixes != nil {
			y.prefix = s.prefixes[name[0]-'A']
		}
		o := Options{Name: name, Namespace: "flows"}.withDefaults()
		if s.refused {
			o.RetryFor = 10 * time.Second
		}
		return newLauncher(o, y, y, y), y
	}
	for i, name := range []string{"A", "B"} {
		l, y := launcher(name, i, gates)
		after := time.Duration(0)
		if s.refused && i == 0 {
			y.refusal = apierrors.NewTooManyRequests("slow down", 20)
		} else if s.refused {
			after = 20 * time.Second
		}
		actors.Go(func() {
			time.Sleep(after)
			passOnce(ctx, l, y)
		})
	}
	if s.orphan {
		st.pods = []*corev1.Pod{podOf("r", corev1.PodStatus{Phase: corev1.PodRunning})}
		actors.Go(func() {
			y := &eyes{gates: gates}
			y.wait(&gate{actor: "pod", op: "ends", write: true, free: []verdict{proceed}})
			st.endPods()
		})
	}
	w := walk{chooser: c, faults: s.faults, alike: !s.unlike, gates: gates, trace: &trace, verdicts: []verdict{proceed, refuse, dieBefore, freezeBefore}}
	if s.living && !s.slow { // there the server pauses
		w.verdicts = append(w.verdicts, pause)
	}
	w.slow = s.slow
	frozen := w.turn()
	check := func(when string) {
		t.Helper()
		var created []string
		for _, st := range clusters {
			created = append(created, st.created...)
		}
		slices.Sort(created)
		want := s.want
		if s.refused && len(created) == 1 || s.restarted && len(created) == 2 && created[0] != created[1] {
			want = created
		}
		if !slices.Equal(created, want) {
			t.Errorf("%s: Jobs created: %q, want %q\n%s\n%s", when, created, want, strings.Join(trace, "\n"), strings.Join(m.writes, "\n"))
		}
		if len(st.beside) > 0 {
			t.Errorf("%s: created beside a pod that lived: %q\n%s", when, st.beside, strings.Join(trace, "\n"))
		}
	}
	// A third launcher cleans up; between its passes the API forgets its locks.
	passes := 3
	if s.restarted {
		passes = 6
	}
	for range passes {
		time.Sleep(31 * time.Second)
		for i := range clusters {
			third, y := launcher("C", i, nil)
			passOnce(ctx, third, y)
		}
	}
	pods.Wait()
	check("after a third launcher cleaned up")
	if end := m.get("r").State.Type; !slices.Contains(s.ends, end) {
		t.Errorf("the run ends %s, want one of %v\n%s\n%s", end, s.ends, strings.Join(trace, "\n"), strings.Join(m.writes, "\n"))
	}
	// The pod does its work, and in the end the Job is deleted.
	if len(s.want) > 0 && !s.living {
		_ = m.setState(ctx, "pod", "r", prefect.State{Type: prefect.Running})
		_ = m.setState(ctx, "pod", "r", prefect.State{Type: prefect.Success})
	}
	for _, st := range clusters {
		st.finishAll()
	}
	time.Sleep(job.MinTTLSeconds * time.Second)
	for _, st := range clusters {
		st.jobs = map[string]*batchv1.Job{}
	}
	final := m.get("r").State.Type
	for _, g := range frozen {
		trace = append(trace, g.actor+" thaws")
		g.pass <- proceed
		// Who was stopped goes on alone, and unhindered.
		for range 50 {
			synctest.Wait()
			select {
			case g := <-gates:
				trace = append(trace, g.actor+" "+g.op)
				g.pass <- proceed
			case <-time.After(time.Minute):
			}
		}
	}
	actors.Wait()
	check("after those who were frozen went on")
	if runs := strings.Count(strings.Join(m.writes, "\n"), "pod r Running"); runs > 1 && !s.restarted || runs > 2 {
		t.Errorf("pods executed the run %d times\n%s\n%s", runs, strings.Join(trace, "\n"), strings.Join(m.writes, "\n"))
	}
	if end := m.get("r").State.Type; end != final {
		t.Errorf("a launcher that was frozen set the finished run %s\n%s\n%s", end, strings.Join(trace, "\n"), strings.Join(m.writes, "\n"))
	}
}

// endPods ends all pods there are.
func (s *store) endPods() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pods = nil
}

// live is a pod's life: it does nothing for a run that has finished.
func live(ctx context.Context, m *memory, st *store, j *batchv1.Job, restart bool) {
	time.Sleep(podStarts)
	id := j.Labels[job.LabelFlowRunID]
	if m.get(id).State.Type.IsFinished() {
		restart = false
	} else {
		_ = m.setState(ctx, "pod", id, prefect.State{Type: prefect.Running})
		time.Sleep(podRuns)
		end := prefect.Success
		if restart {
			end = prefect.Failed
		}
		_ = m.setState(ctx, "pod", id, prefect.State{Type: end})
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if kept := st.jobs[j.Name]; kept != nil {
		complete(kept)
	}
	if restart {
		_ = m.setState(ctx, "person", id, prefect.State{Type: prefect.Scheduled, StartTime: time.Now()})
	}
}

func complete(j *batchv1.Job) {
	j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
}

// step is a launcher's call and what became of it.
type step struct {
	*gate
	verdict verdict
	// beside are the launchers that waited meanwhile, and so might have gone first.
	beside map[string]*gate
}

// isPlain: it changes nothing that another launcher could notice, being a read or a
// write that is not made. A heartbeat goes with the call before it: nothing that is
// decided about states and Jobs depends on one.
func (g *gate) isPlain(v verdict) bool {
	return v == refuse || v == dieBefore || v == proceed && !g.write
}

// swaps: the step and g's call with that verdict come to the same in either order,
// of which the one by name is taken. Every order can be had from one that is taken
// by swapping such neighbours, so those left out would show nothing new.
func (s step) swaps(g *gate, v verdict) bool {
	return s.gate != nil && s.beside[g.actor] == g && g.actor < s.actor && s.isPlain(s.verdict) && g.isPlain(v)
}

// walk is how the launchers take turns.
type walk struct {
	*chooser
	// faults is how many there may be, and verdicts what they may be.
	faults   int
	verdicts []verdict
	// slow: claims may be applied late.
	slow bool
	// alike: which of them goes first makes no difference.
	alike bool
	gates chan *gate
	trace *[]string

	last step
}

// possible are the verdicts on a gate, of which the first is that all goes well.
func (w *walk) possible(g *gate) []verdict {
	possible := []verdict{proceed}
	switch {
	case g.free != nil:
		possible = slices.Clone(g.free)
	case w.faults == 0 || g.op == "look":
	case g.local:
		for _, v := range w.verdicts {
			if v == freezeBefore || v == pause { // it could as well die before the next call
				possible = append(possible, v)
			}
		}
	default:
		possible = slices.Clone(w.verdicts)
		if g.write {
			possible = append(possible, loseAnswer, dieAfter, freezeAfter)
		}
		if w.slow && g.op == "claim" {
			possible = append(possible, late, lateLost)
		}
	}
	return slices.DeleteFunc(possible, func(v verdict) bool { return w.last.swaps(g, v) })
}

// turn lets the launchers go on in the order chosen until none waits any more,
// and returns those it froze.
func (w *walk) turn() (frozen []*gate) {
	waiting := map[string]*gate{}
	quiet := 0
	for quiet < 3 {
		synctest.Wait()
		select {
		case g := <-w.gates:
			waiting[g.actor] = g
			quiet = 0
			continue
		default:
		}
		if len(waiting) == 0 {
			// Whoever waits for a later try gets its time.
			time.Sleep(11 * time.Second)
			quiet++
			continue
		}
		g := w.next(waiting)
		possible := w.possible(g)
		v := possible[w.choose(len(possible))]
		if !g.local || v != proceed {
			*w.trace = append(*w.trace, fmt.Sprintf("%s %s%s", g.actor, g.op, v))
		}
		delete(waiting, g.actor)
		if !g.local {
			w.last = step{g, v, maps.Clone(waiting)}
		}
		if v != proceed && g.free == nil {
			w.faults--
		}
		g.pass <- v
		if v == freezeBefore || v == freezeAfter {
			frozen = append(frozen, g)
		}
	}
	return frozen
}

// next chooses who goes on. What is no call may as well happen at once.
func (w *walk) next(waiting map[string]*gate) *gate {
	actors := slices.Sorted(maps.Keys(waiting))
	if i := slices.IndexFunc(actors, func(a string) bool { return waiting[a].local }); i >= 0 {
		return waiting[actors[i]]
	}
	if len(*w.trace) == 0 && w.alike {
		actors = actors[:1]
	}
	if news := slices.DeleteFunc(slices.Clone(actors), func(a string) bool { return len(w.possible(waiting[a])) == 0 }); len(news) > 0 {
		actors = news
	} else {
		w.last = step{} // whoever is left goes on alone
	}
	return waiting[actors[w.choose(len(actors))]]
}

// The same for a Job in trouble: of two launchers one tells the run's story and
// fails it, and whoever dies or is stopped on the way leaves it to the next. Only
// a death between telling and noting so may have something told again.
func TestStoryIsToldOnceInEveryInterleaving(t *testing.T) {
	for faults := range 2 {
		t.Run(fmt.Sprint(faults, " faults"), func(t *testing.T) {
			t.Parallel()
			c, executions := &chooser{}, 0
			for more := true; more && !t.Failed(); more = c.next() {
				executions++
				synctest.Test(t, func(t *testing.T) { resolveInTurn(t, c, faults) })
			}
			t.Logf("%d executions", executions)
		})
	}
}

func resolveInTurn(t *testing.T, c *chooser, faults int) {
	m, st := newMemory(run("r").in(prefect.Running)), emptyStore()
	st.jobs["job-r"], st.pods = jobOfRun("r"), []*corev1.Pod{podOf("r", oomKilled())}
	gates := make(chan *gate)
	var trace []string
	var actors sync.WaitGroup
	launcher := func(name string, gates chan *gate) (*Launcher, *eyes) {
		y := &eyes{memory: m, store: st, actor: name, gates: gates}
		return newLauncher(Options{Name: name, Namespace: "flows", DeleteFinished: true}.withDefaults(), y, y, y), y
	}
	for _, name := range []string{"A", "B"} {
		l, y := launcher(name, gates)
		actors.Go(func() { passOnce(t.Context(), l, y) })
	}
	w := walk{chooser: c, faults: faults, alike: true, gates: gates, trace: &trace, verdicts: []verdict{proceed, refuse, dieBefore, freezeBefore}}
	frozen := w.turn()
	third, y := launcher("C", nil)
	for range 3 {
		time.Sleep(leaseFor + time.Second)
		passOnce(t.Context(), third, y)
	}
	wrong := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s\n%s\n%s", fmt.Sprintf(format, args...), strings.Join(trace, "\n"), strings.Join(m.writes, "\n"))
	}
	if end := m.get("r").State.Type; end != prefect.Failed || len(st.jobs) > 0 {
		wrong("the run ends %s with %d Jobs", end, len(st.jobs))
	}
	// Somebody has the run started again, and only then the frozen go on.
	_ = m.setState(t.Context(), "person", "r", prefect.State{Type: prefect.Scheduled})
	for _, g := range frozen {
		trace = append(trace, g.actor+" thaws")
		g.pass <- proceed
		for range 50 {
			synctest.Wait()
			select {
			case g := <-gates:
				trace = append(trace, g.actor+" "+g.op)
				g.pass <- proceed
			case <-time.After(time.Minute):
			}
		}
	}
	actors.Wait()
	if end := m.get("r").State.Type; end != prefect.Scheduled {
		wrong("a launcher that was frozen set the run %s that was started again", end)
	}
	// A story that Prefect refuses does not keep the run from being failed; one told
	// by a launcher that could not note so any more is told again.
	least, most := 1, 1
	if faults > 0 {
		most = 2
	}
	if strings.Contains(strings.Join(trace, "\n"), " log refused") {
		least = 0
	}
	if stories := len(m.infraLines("r")); stories < least || stories > most {
		wrong("the story was told %d times, want %d to %d", stories, least, most)
	}
}
