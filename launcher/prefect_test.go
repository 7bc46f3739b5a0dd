package launcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go.uber.org/goleak"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// runBuilder makes test runs sentences: run("a").due(at).
type runBuilder struct{ prefect.FlowRun }

func run(id string) *runBuilder {
	return &runBuilder{prefect.FlowRun{
		ID: id, Version: 1, Flow: prefect.Flow{ID: "flow", Name: "flow"},
		State: prefect.State{Type: prefect.Scheduled},
	}}
}

func (b *runBuilder) due(at time.Time) *runBuilder    { b.State.StartTime = at; return b }
func (b *runBuilder) readAt(at time.Time) *runBuilder { b.ReadAt = at; return b }
func (b *runBuilder) version(v int) *runBuilder       { b.Version = v; return b }
func (b *runBuilder) labels(l ...string) *runBuilder {
	b.Labels = l
	return b
}

func (b *runBuilder) retrying(task string, version int, at time.Time) *runBuilder {
	b.State = prefect.State{Type: prefect.Running}
	b.DueTasks = append(b.DueTasks, prefect.TaskRun{ID: task, Version: version, State: prefect.State{Type: prefect.Retrying, StartTime: at}})
	return b
}

// lastFrom says from which namespace the run was last submitted, by its UID.
func (b *runBuilder) lastFrom(uid string) *runBuilder {
	b.LastClaim = &prefect.Claim{Namespace: "flows", NamespaceUID: uid}
	return b
}

func (b *runBuilder) claimedBy(launcher string, attempt prefect.Attempt, jobName string, at time.Time) *runBuilder {
	b.State = prefect.State{Type: prefect.Submitted}
	b.Claim = &prefect.Claim{Launcher: launcher, Attempt: attempt, Job: jobName, Namespace: "flows"}
	b.StateAt = at
	return b
}

// beaten gives the run a heartbeat.
func (b *runBuilder) beaten(at time.Time) *runBuilder { b.Heartbeat = at; return b }

// memory is a Prefect Server in memory, with its weaknesses (prefect1-server-facts
// a–c): versions are ignored, Submitted is accepted in any state, and the only
// lock is one of 30 s, which several API replicas do not share.
type memory struct {
	mu   sync.Mutex
	runs map[string]prefect.FlowRun
	// locks is nil where several replicas answer.
	locks map[string]time.Time

	latency time.Duration
	// lag and claimsLag are how long the answers about due and claimed runs are
	// under way.
	lag, claimsLag time.Duration
	// fault is asked before and after every write and before every read.
	fault func(op, id string, written bool) error

	// silent runs give no sign of life; the claim is how they were submitted.
	silent map[string]prefect.Claim

	// queue is how many runs are handed out at once, as Cloud's queue does; 0 hands
	// out as many as are asked for.
	queue int
	// rows of due runs were sent.
	rows int

	// past is what was written of each run, by versions.
	past map[string][]past

	writes []string
	logs   []prefect.LogEntry
	asked  map[string]int
}

// maxOpaque is how large a state may be that goes into a claim.
const maxOpaque = 100

var errTooLarge = &prefect.AuthorError{Message: "the state is too large to be claimed"}

func statesOf(tasks []prefect.TaskRun) (states []prefect.State) {
	for _, t := range tasks {
		states = append(states, t.State)
	}
	return states
}

// tasksAtOnce are read of a run, and claimed, by one request.
const tasksAtOnce = 100

// past is a state that a run was given.
type past struct {
	version int
	state   prefect.State
	claim   *prefect.Claim
}

// throttled is an API that asks to be left alone.
type throttled time.Duration

func (t throttled) Error() string             { return "HTTP 429" }
func (t throttled) RetryAfter() time.Duration { return time.Duration(t) }

var (
	errLost   = errors.New("the answer was lost")
	errUnsent = errors.New("it could not be sent in time")
)

func newMemory(runs ...*runBuilder) *memory {
	m := &memory{runs: map[string]prefect.FlowRun{}, past: map[string][]past{}, locks: map[string]time.Time{}, asked: map[string]int{}}
	for _, r := range runs {
		m.set(r)
	}
	return m
}

func (m *memory) replicated() *memory { m.locks = nil; return m }

func (m *memory) set(r *runBuilder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.runs[r.ID] = r.FlowRun
	m.remember(r.FlowRun)
}

// remember adds the state a run is in to its history. The caller holds the lock.
func (m *memory) remember(r prefect.FlowRun) {
	m.past[r.ID] = append(m.past[r.ID], past{r.Version, r.State, r.Claim})
}

func (m *memory) get(id string) prefect.FlowRun {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.runs[id]
}

// slow makes every request take so long from now on.
func (m *memory) slow(latency time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.latency = latency
}

// count is how often a request was made.
func (m *memory) count(op string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[op]
}

// begin is a request on its way. One that may not be sent any more has no effect;
// one that was sent has, at the end of its time on the way.
func (m *memory) begin(ctx context.Context, op, id string) error {
	if prefect.TooLateToSend(ctx) {
		return errUnsent
	}
	m.mu.Lock()
	latency := m.latency
	m.mu.Unlock()
	if latency > 0 {
		select {
		case <-time.After(latency):
		case <-ctx.Done():
		}
	}
	if err := ctx.Err(); err != nil {
		return err // not sent
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked[op]++
	return m.ask(op, id, false)
}

func (m *memory) ask(op, id string, written bool) error {
	if m.fault == nil {
		return nil
	}
	return m.fault(op, id, written)
}

func (m *memory) matching(labels []string, want func(prefect.FlowRun) bool) []prefect.FlowRun {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []prefect.FlowRun
	for _, r := range m.runs {
		if want(r) && prefect.LabelsMatch(labels, r.Labels) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b prefect.FlowRun) int { return strings.Compare(a.ID, b.ID) })
	return found
}

func (m *memory) Due(ctx context.Context, q prefect.DueQuery) (prefect.DueRuns, error) {
	at := time.Now()
	if err := m.begin(ctx, "due", ""); err != nil {
		return prefect.DueRuns{}, err
	}
	due := m.matching(q.Labels, func(r prefect.FlowRun) bool {
		return r.Claimable(q.Until) && r.RetriesIn(q.Namespace, q.NamespaceUID)
	})
	slices.SortStableFunc(due, func(a, b prefect.FlowRun) int { return a.Due().Compare(b.Due()) })
	for i := range due {
		due[i].ReadAt = at
		if tasks := due[i].DueTasks; len(tasks) > 0 {
			due[i].DueTasks = []prefect.TaskRun{slices.MinFunc(tasks, func(a, b prefect.TaskRun) int {
				return cmp.Or(a.State.StartTime.Compare(b.State.StartTime), cmp.Compare(a.ID, b.ID))
			})}
		}
	}
	if m.lag > 0 {
		time.Sleep(m.lag)
	}
	limit := q.Limit
	if m.queue > 0 { // Cloud's does not know whom we would rather not have
		limit = m.queue
	} else {
		due = slices.DeleteFunc(due, func(r prefect.FlowRun) bool { return slices.Contains(q.Except, r.ID) })
	}
	found := prefect.DueRuns{Runs: due[:min(limit, len(due))], More: len(due) >= limit}
	m.mu.Lock()
	m.rows += len(found.Runs)
	m.mu.Unlock()
	return found, nil
}

func (m *memory) Claimed(ctx context.Context, labels []string) ([]prefect.FlowRun, error) {
	at := time.Now()
	if err := m.begin(ctx, "claimed", ""); err != nil {
		return nil, err
	}
	claimed := m.matching(labels, func(r prefect.FlowRun) bool { return r.Claim != nil })
	for i, r := range claimed {
		claimed[i] = prefect.FlowRun{ID: r.ID, Labels: r.Labels, State: r.State, Claim: r.Claim, StateAt: r.StateAt, ReadAt: at, Heartbeat: r.Heartbeat}
	}
	if m.claimsLag > 0 {
		time.Sleep(m.claimsLag)
	}
	return claimed, nil
}

func (m *memory) FlowRun(ctx context.Context, id string) (prefect.FlowRun, error) {
	at := time.Now()
	if err := m.begin(ctx, "read", id); err != nil {
		return prefect.FlowRun{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.runs[id]
	if !ok {
		return r, prefect.ErrNotFound
	}
	r.ReadAt = at
	r.DueTasks = slices.Clone(r.DueTasks)
	slices.SortFunc(r.DueTasks, func(a, b prefect.TaskRun) int {
		return cmp.Or(a.State.StartTime.Compare(b.State.StartTime), cmp.Compare(a.ID, b.ID))
	})
	r.DueTasks = r.DueTasks[:min(tasksAtOnce, len(r.DueTasks))]
	return r, nil
}

func (m *memory) History(ctx context.Context, id string, attempt prefect.Attempt) (prefect.History, error) {
	run, err := m.FlowRun(ctx, id)
	if err != nil {
		return prefect.History{}, err
	}
	h := prefect.History{Run: run}
	since, ok := attempt.Version()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.past[id] {
		switch {
		case !ok || p.version <= since:
		case p.claim != nil:
			h.Claims = append(h.Claims, *p.claim)
		case p.state.Type != prefect.Submitted:
			h.Reached = p.state
		}
	}
	return h, nil
}

func (m *memory) Restore(ctx context.Context, run prefect.FlowRun, to prefect.State) error {
	return m.setState(ctx, "restore", run.ID, to)
}

// write changes a run, whatever state it is in.
func (m *memory) write(op, id string, change func(*prefect.FlowRun)) error {
	r, ok := m.runs[id]
	if !ok {
		return prefect.ErrNotFound
	}
	change(&r)
	r.StateAt = time.Now()
	if r.Version != m.runs[id].Version {
		m.remember(r)
	}
	m.runs[id] = r
	m.writes = append(m.writes, fmt.Sprintf("%s %s %s", op, id, r.State.Type))
	return m.ask(op, id, true)
}

func (m *memory) Claim(ctx context.Context, run prefect.FlowRun, claim prefect.Claim) (prefect.ClaimResult, error) {
	if err := m.begin(ctx, "claim", run.ID); err != nil {
		if errors.Is(err, prefect.ErrAuth) {
			return prefect.ClaimResult{}, err
		}
		if wish := prefect.RetryAfter(err); wish > 0 || errors.Is(err, errUnsent) {
			return prefect.ClaimResult{Answer: prefect.NotNow, Reason: err.Error(), RetryAfter: wish}, nil
		}
		return prefect.ClaimResult{Answer: prefect.Unknown, Reason: err.Error()}, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, state := range append([]prefect.State{run.State}, statesOf(run.DueTasks)...) {
		if len(state.Opaque) > maxOpaque {
			return prefect.ClaimResult{}, errTooLarge
		}
	}
	if run.State.Type.IsScheduled() && m.locks != nil {
		if since, ok := m.locks[run.ID]; ok && time.Since(since) < 30*time.Second {
			return prefect.ClaimResult{Answer: prefect.NotNow, Reason: "already been submitted"}, nil
		}
		m.locks[run.ID] = time.Now()
	}
	err := m.write("claim", run.ID, func(r *prefect.FlowRun) {
		if run.State.Type.IsRunning() {
			r.DueTasks = slices.DeleteFunc(slices.Clone(r.DueTasks), func(t prefect.TaskRun) bool {
				return slices.ContainsFunc(run.DueTasks, func(c prefect.TaskRun) bool { return c.ID == t.ID })
			})
			return
		}
		r.Version++
		r.State = prefect.State{Type: prefect.Submitted, Message: "Submitted for execution"}
		r.Claim = &claim
	})
	switch {
	case errors.Is(err, prefect.ErrNotFound):
		return prefect.ClaimResult{Answer: prefect.Lost}, nil
	case err != nil:
		return prefect.ClaimResult{Answer: prefect.Unknown, Reason: err.Error()}, nil
	}
	return prefect.ClaimResult{Answer: prefect.Won}, nil
}

func (m *memory) Fail(ctx context.Context, run prefect.FlowRun, message string) error {
	return m.setState(ctx, "fail", run.ID, prefect.State{Type: prefect.Failed, Message: message})
}

func (m *memory) Cancel(ctx context.Context, run prefect.FlowRun, message string) error {
	return m.setState(ctx, "cancel", run.ID, prefect.State{Type: prefect.Cancelled, Message: message})
}

func (m *memory) HandBack(ctx context.Context, run prefect.FlowRun, at time.Time, message string) error {
	return m.setState(ctx, "hand back", run.ID, prefect.State{Type: prefect.Scheduled, StartTime: at, Message: message}, func(r *prefect.FlowRun) {
		r.Returned = run.Returned
	})
}

// setState is how anybody sets a state: us, a pod, Lazarus, a person.
func (m *memory) setState(ctx context.Context, op, id string, s prefect.State, more ...func(*prefect.FlowRun)) error {
	if err := m.begin(ctx, op, id); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.write(op, id, func(r *prefect.FlowRun) {
		r.Version++
		r.State, r.Claim = s, nil
		for _, change := range more {
			change(r)
		}
	})
}

func (m *memory) Log(ctx context.Context, entries []prefect.LogEntry) error {
	if err := m.begin(ctx, "log", ""); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.logs = append(m.logs, entries...)
	return m.ask("log", "", true)
}

func (m *memory) Heartbeat(ctx context.Context, id string) error {
	if err := m.begin(ctx, "heartbeat", id); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.runs[id]; ok {
		r.Heartbeat = time.Now()
		m.runs[id] = r
	}
	return nil
}

// Supervise takes every running run with a claim on record for silent.
func (m *memory) Supervise(ctx context.Context, _, active []string) (prefect.Supervision, error) {
	if err := m.begin(ctx, "supervise", ""); err != nil {
		return prefect.Supervision{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var s prefect.Supervision
	for _, id := range slices.Sorted(maps.Keys(m.runs)) {
		r := m.runs[id]
		row := prefect.JobRun{ID: id, Labels: r.Labels, State: r.State.Type, StateAt: r.StateAt}
		if (r.State.Type == prefect.Cancelling || r.State.Type.IsFinished()) && slices.Contains(active, id) {
			s.Ending = append(s.Ending, row)
		}
		if claim, silent := m.silent[id]; silent && r.State.Type.IsRunning() {
			row.Claim = claim
			s.Silent = append(s.Silent, row)
		}
	}
	return s, nil
}

func (m *memory) Announce(ctx context.Context, _ []string) error {
	return m.begin(ctx, "announce", "")
}

// linesOf are a run's log lines.
func (m *memory) linesOf(id string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var lines []string
	for _, e := range m.logs {
		if e.FlowRunID == id {
			lines = append(lines, string(e.Level)+" "+e.Message)
		}
	}
	return lines
}

// template renders every run's Job the same; a run config of "wrong" is its
// author's error, one of "away" is nobody's.
type template struct{}

// mendable renders as the operator's template, which is wrong for a while, lets
// it: runs that bring their own do not mind.
type mendable struct {
	template
	wrong func() error
}

func (m mendable) Render(ctx context.Context, r prefect.FlowRun) (*batchv1.Job, error) {
	if err := m.wrong(); err != nil && !job.BringsTemplate(r) {
		return nil, &job.TemplateError{Err: err}
	}
	return m.template.Render(ctx, r)
}

func (template) Render(_ context.Context, r prefect.FlowRun) (*batchv1.Job, error) {
	if string(r.RunConfig) == "wrong" {
		return nil, &prefect.AuthorError{Message: "cpu_limit: write 500m or 2"}
	}
	if string(r.RunConfig) == "away" {
		return nil, errors.New("the template's server does not answer")
	}
	if since, ok := strings.CutPrefix(string(r.RunConfig), "away since "); ok {
		at, err := time.Parse(time.RFC3339, since)
		return nil, &job.AwayError{Since: at, Err: errors.Join(err, errors.New("its server does not answer"))}
	}
	name, identifier := job.Name("prefect-job", r.ID, r.Attempt(), 0)
	labels := map[string]string{
		job.LabelIdentifier: identifier, job.LabelFlowRunID: r.ID, job.LabelFlowID: r.Flow.ID,
		job.LabelAttempt: job.AttemptLabel(r.Attempt()),
	}
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	j.Spec.Template.Labels = map[string]string{job.LabelIdentifier: identifier}
	return j, nil
}
