package launcher

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/prefect-keda/prefect-keda/claims/model"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

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
	// running are the names of Jobs whose pod executes the run.
	running map[string]bool
}

func (s *store) create(j *batchv1.Job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs[j.Name] != nil {
		return apierrors.NewAlreadyExists(jobsResource, j.Name)
	}
	j = j.DeepCopy() // as sent
	s.jobs[j.Name] = j.DeepCopy()
	s.created = append(s.created, j.Labels[kubernetesrun.LabelFlowRunID]+" "+j.Labels[job.LabelAttempt])
	if slices.ContainsFunc(s.pods, trouble.Executes) {
		s.beside = append(s.beside, j.Name)
	}
	if s.start != nil {
		s.start(j)
	}
	return nil
}

func (s *store) of(run string) jobs.Presence {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*batchv1.Job
	for _, name := range slices.Sorted(maps.Keys(s.jobs)) {
		if j := s.jobs[name]; j.Labels[kubernetesrun.LabelFlowRunID] == run {
			found = append(found, j)
		}
	}
	return jobs.PresenceOf(found, s.pods)
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
	// replay follows what it does.
	replay *replay
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
	err = y.call("read", false, func() error {
		y.replay.step(func() { r, err = y.memory.FlowRun(ctx, id) }, func() { y.replay.read(y, r) })
		return err
	})
	return r, err
}

func (y *eyes) History(ctx context.Context, id string, attempt prefect.Attempt) (h prefect.History, err error) {
	err = y.call("history", false, func() error {
		y.replay.step(func() { h, err = y.memory.History(ctx, id, attempt) }, func() { y.replay.checks(y) })
		return err
	})
	return h, err
}

func (y *eyes) Restore(ctx context.Context, run prefect.FlowRun, to prefect.State) error {
	return y.call("restore", true, func() error { return y.restore(ctx, run, to) })
}

func (y *eyes) restore(ctx context.Context, run prefect.FlowRun, to prefect.State) (err error) {
	y.replay.step(func() { err = y.memory.Restore(ctx, run, to) }, func() { y.replay.writes(y, model.Restore, err) })
	return err
}

func (y *eyes) Claim(ctx context.Context, run prefect.FlowRun, c prefect.Claim) (r prefect.ClaimResult, err error) {
	v := y.at("claim", true)
	if (v == late || v == lateLost) && ctx.Err() == nil && !prefect.TooLateToSend(ctx) { // else it is not even sent
		return y.claimLate(ctx, v, run, c)
	}
	sent := false
	lost := y.follow(v, func() error {
		sent = ctx.Err() == nil && !prefect.TooLateToSend(ctx)
		y.replay.step(func() { r, err = y.memory.Claim(ctx, run, c) }, func() {
			if sent {
				y.replay.asks(y, c)
				y.replay.serves(y, r)
			}
		})
		return nil
	})
	if lost != nil {
		return prefect.ClaimResult{Answer: prefect.Unknown}, nil
	}
	if sent {
		y.replay.step(func() {}, func() { y.replay.hears(y) })
	}
	return y.putBack(ctx, run, r), err
}

// putBack has the backend restore a finished run that the claim revived, which may fail as
// any call. The claim is lost all the same.
func (y *eyes) putBack(ctx context.Context, run prefect.FlowRun, r prefect.ClaimResult) prefect.ClaimResult {
	if r.Reason != revived {
		return r
	}
	var (
		h   prefect.History
		err error
	)
	y.replay.step(func() { h, err = y.memory.History(ctx, run.ID, run.Attempt) }, func() { y.replay.checks(y) })
	if err == nil && h.Reached.Phase.IsFinished() {
		_ = y.call("put back", true, func() error { return y.restore(ctx, run, h.Reached) })
	}
	return r
}

// claimLate has the server apply the claim when it gets to it, whether or not the
// launcher still waits for the answer.
func (y *eyes) claimLate(ctx context.Context, v verdict, run prefect.FlowRun, c prefect.Claim) (prefect.ClaimResult, error) {
	type answer struct {
		prefect.ClaimResult
		error
	}
	answers := make(chan answer, 1)
	y.replay.step(func() {}, func() { y.replay.asks(y, c) })
	go func() { //nolint:contextcheck // the server goes on by itself
		y.wait(&gate{actor: "server of " + y.actor, op: "applies the claim", write: true, free: []verdict{proceed, pause}})
		var a answer
		y.replay.step(func() { a.ClaimResult, a.error = y.memory.Claim(context.Background(), run, c) }, func() { y.replay.serves(y, a.ClaimResult) })
		answers <- a
	}()
	lost := prefect.ClaimResult{Answer: prefect.Unknown, Reason: "no answer"}
	if v == lateLost {
		return lost, nil
	}
	select {
	case a := <-answers:
		y.replay.step(func() {}, func() { y.replay.hears(y) })
		return y.putBack(ctx, run, a.ClaimResult), a.error
	case <-ctx.Done():
		return lost, nil
	}
}

// Render is the launcher's renderer.
func (y *eyes) Render(ctx context.Context, run prefect.FlowRun) (job.Rendering, error) {
	y.aside("renders")
	if y.prefix != "" {
		return titled{name: y.prefix}.Render(ctx, run)
	}
	return template{}.Render(ctx, run)
}

// Neutral is as well.
func (y *eyes) Neutral(ownTemplate bool) prefect.FlowRun { return template{}.Neutral(ownTemplate) }

func (y *eyes) Fail(ctx context.Context, run prefect.FlowRun, f prefect.Failure) error {
	return y.call("fail", true, func() error { return y.memory.Fail(ctx, run, f) })
}

func (y *eyes) HandBack(ctx context.Context, run prefect.FlowRun, at time.Time, message string) error {
	return y.call("hand back", true, func() (err error) {
		y.replay.step(func() { err = y.memory.HandBack(ctx, run, at, message) }, func() { y.replay.writes(y, model.HandBack, err) })
		return err
	})
}

func (y *eyes) Watch(context.Context) {}
func (y *eyes) Ready() (bool, error)  { return true, nil }

// namespaceUID is read before a claim is made up, and when one is looked at.
func (y *eyes) NamespaceUID() string {
	y.aside("decides")
	return y.uid
}

// Open: every namespace is.
func (y *eyes) Open(string) error { return nil }

// Further: nobody here has another namespace.
func (y *eyes) Further() prefect.Namespaces { return nil }

func (y *eyes) Known(run string) jobs.Presence {
	if y.blind {
		return jobs.Presence{}
	}
	return y.store.of(run)
}

func (y *eyes) List(ctx context.Context, run string) (found jobs.Presence, err error) {
	err = y.call("list", false, func() error {
		y.replay.step(func() { found = y.store.of(run) }, func() { y.replay.lists(y) })
		return ctx.Err()
	})
	return found, err
}

func (y *eyes) Create(ctx context.Context, j *batchv1.Job, _ *corev1.Secret) error {
	return y.call("create", true, func() error {
		if err := errors.Join(ctx.Err(), y.refusal); err != nil {
			return err
		}
		var err error
		y.replay.step(func() { err = y.store.create(j) }, func() { y.replay.writes(y, model.Create, nil) })
		if y.all != nil && y.store.count() == y.want {
			y.all()
		}
		return err
	})
}

func (y *eyes) Try(context.Context, *batchv1.Job) error { return nil }

func (y *eyes) Get(ctx context.Context, _, name string) (j *batchv1.Job, err error) {
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

func (y *eyes) Troubled(r trouble.Rules, _ prefect.Supervision) []jobs.Troubled {
	y.store.mu.Lock()
	defer y.store.mu.Unlock()
	var all []jobs.Troubled
	for _, name := range slices.Sorted(maps.Keys(y.store.jobs)) {
		j := y.store.jobs[name]
		if f, found := trouble.Judge(j, y.store.pods, r); found && !y.blind {
			all = append(all, jobs.Troubled{Finding: f, Namespace: j.Namespace, Job: name, Run: j.Labels[kubernetesrun.LabelFlowRunID]})
		}
	}
	return all
}

func (y *eyes) Active() []string { return nil }

func (y *eyes) Inspect(ctx context.Context, run string) (jobs []*batchv1.Job, pods []*corev1.Pod, err error) {
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

func (y *eyes) Note(ctx context.Context, j *batchv1.Job, n trouble.Note) error {
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

func (y *eyes) Release(ctx context.Context, j *batchv1.Job, n trouble.Note, _ jobs.Ending) error {
	return y.call("release", true, func() error {
		return y.store.change(ctx, j, func(stored *batchv1.Job) error {
			stored.Annotations = map[string]string{trouble.Annotation: n.String()}
			return nil
		})
	})
}

func (y *eyes) Limit(context.Context, *batchv1.Job, int32) error { return nil }

func (y *eyes) Remove(ctx context.Context, j *batchv1.Job) error {
	return y.call("remove", true, func() error {
		y.store.mu.Lock()
		defer y.store.mu.Unlock()
		if ctx.Err() == nil {
			delete(y.store.jobs, j.Name)
		}
		return ctx.Err()
	})
}

func (y *eyes) Events(context.Context, string, types.UID) ([]corev1.Event, error) { return nil, nil }

func (y *eyes) LastLines(context.Context, string, string, string, bool, int) (string, error) {
	return "", nil
}

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
	y.replay.begins(y)
	w := World{Now: time.Now(), NamespaceUID: y.uid, Present: map[string]jobs.Presence{}}
	var errs [2]error
	var due prefect.DueRuns
	y.replay.step(func() {
		due, errs[0] = y.memory.Due(ctx, prefect.DueQuery{Until: w.Now, Limit: 10, Namespace: l.Namespace, NamespaceUID: y.uid})
	}, func() {
		for _, run := range due.Runs {
			y.replay.read(y, run)
		}
	})
	w.Due = due.Runs
	w.Claimed, errs[1] = y.memory.Claimed(ctx, prefect.Scope{})
	if errors.Join(errs[:]...) != nil {
		return
	}
	for _, r := range slices.Concat(w.Due, w.Claimed) {
		w.Present[r.ID] = y.Known(r.ID)
	}
	w.Troubled = y.Troubled(l.Rules, prefect.Supervision{})
	for _, a := range NewPlan(l.Options, w).Actions {
		l.carryOut(ctx, &flight{Action: a}, sleep)
	}
}

func emptyStore() *store {
	return &store{jobs: map[string]*batchv1.Job{}, running: map[string]bool{}}
}

func storeWith(r *runBuilder) *store {
	s := emptyStore()
	made, _ := template{}.Render(context.Background(), r.FlowRun)
	_ = s.create(made.Job)
	return s
}

// endPods ends all pods there are.
func (s *store) endPods() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pods = nil
}

// live is a pod's life: it does nothing for a run that has finished.
func (x *execution) live(st *store, j *batchv1.Job, restart bool) {
	time.Sleep(podStarts)
	if x.podBegins(st, j) {
		time.Sleep(podRuns)
		end := "Success"
		if restart {
			end = "Failed"
		}
		x.podEnds(st, j, end)
		if restart {
			x.replay.step(func() {
				_ = x.m.setState(x.t.Context(), "person", "r", prefect.State{Phase: prefect.Waiting, Name: "Scheduled", StartTime: time.Now()})
			}, func() { x.replay.must(model.Move{Action: model.Restart}) })
		}
	}
}

// podBegins reports whether the pod has anything to do.
func (x *execution) podBegins(st *store, j *batchv1.Job) (begins bool) {
	x.replay.step(func() {
		if begins = !x.m.get("r").State.Phase.IsFinished(); begins {
			_ = x.m.setState(x.t.Context(), "pod", "r", prefect.State{Phase: prefect.Running, Name: "Running"})
		}
		st.mu.Lock()
		defer st.mu.Unlock()
		if st.running[j.Name] = begins; !begins {
			st.end(j.Name)
		}
	}, func() { x.replay.must(x.replay.ofJob(model.PodBegins, st, j)) })
	return begins
}

func (x *execution) podEnds(st *store, j *batchv1.Job, in string) {
	x.replay.step(func() {
		_ = x.m.setState(x.t.Context(), "pod", "r", inState(in))
		st.mu.Lock()
		defer st.mu.Unlock()
		st.end(j.Name)
	}, func() { x.replay.must(x.replay.ofJob(model.PodEnds, st, j)) })
}

// end has a Job end, if it is there. The caller holds the lock.
func (s *store) end(name string) {
	if kept := s.jobs[name]; kept != nil {
		complete(kept)
	}
}

// unfinished are the Jobs that have not ended, by name.
func (s *store) unfinished() (all []*batchv1.Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.jobs)) {
		if j := s.jobs[name]; len(j.Status.Conditions) == 0 {
			all = append(all, j.DeepCopy())
		}
	}
	return all
}

func complete(j *batchv1.Job) {
	j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
}
