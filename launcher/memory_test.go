package launcher

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

// memory is a Prefect Server in memory, with its weaknesses
// (prefect1-server §a–§c): versions are ignored, Submitted is accepted in any state,
// and the only lock is one of 30 s, which several API replicas do not share.
//
// If it arbitrates claims, as Prefect 3 does (prefect3 §2.2), the first one wins and all
// others lose, except that a finished run is revived for a moment.
type memory struct {
	mu   sync.Mutex
	runs map[string]prefect.FlowRun
	// locks is nil where several replicas answer.
	locks map[string]time.Time

	// arbitrates: of a scheduling of a run one claim wins.
	arbitrates bool

	latency time.Duration
	// uneven makes each request take up to a tenth less, so that no two answers arrive at
	// once and leave their order to chance.
	uneven bool
	// lag and claimsLag are how long the answers about due and claimed runs are
	// under way.
	lag, claimsLag time.Duration
	// fault is asked before and after every write and before every read.
	fault func(op, id string, written bool) error
	// neverTold: nobody who tells it of a Job is answered.
	neverTold bool

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
	// pending are the words about runs whose pod does not start.
	pending []string
	// failed is what failed each run.
	failed map[string]prefect.FailureKind
}

// maxOpaque is how large a state may be that goes into a claim.
const maxOpaque = 100

var errTooLarge = &prefect.AuthorError{Message: "the state is too large to be claimed"}

func statesOf(tasks []recipe.Task) (states []prefect.State) {
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
	m := &memory{runs: map[string]prefect.FlowRun{}, past: map[string][]past{}, locks: map[string]time.Time{}, asked: map[string]int{}, failed: map[string]prefect.FailureKind{}}
	for _, r := range runs {
		m.set(r)
	}
	return m
}

func (m *memory) replicated() *memory { m.locks = nil; return m }

func (m *memory) arbitrating() *memory { m.locks, m.arbitrates = nil, true; return m }

// revived is the reason for an answer to the claim of a finished run, which the backend puts
// back.
const revived = "the run had finished"

// arbitrate answers a claim that does not change the run.
func (m *memory) arbitrate(run prefect.FlowRun, claim prefect.Claim) (r prefect.ClaimResult, over bool) {
	now := m.runs[run.ID]
	switch {
	case !m.arbitrates || now.State.Phase == prefect.Waiting || now.State.Phase.IsFinished():
		return r, false
	case now.Claim != nil && *now.Claim == claim:
		return prefect.ClaimResult{Answer: prefect.Won, Reason: "it was applied before"}, true
	}
	return prefect.ClaimResult{Answer: prefect.Lost, Reason: "the run is " + now.State.Name}, true
}

func (m *memory) set(r *runBuilder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remember(r.FlowRun)
	m.put(at(r.FlowRun, versionOf(r.FlowRun)))
}

// setSilent makes a run that was submitted with the claim and has given no sign of life
// since its pod began.
func (m *memory) setSilent(id string, claim prefect.Claim) {
	submitted := run(id).version(2).claimedBy(claim.Launcher, claim.Attempt, claim.Job, time.Now().Add(-time.Hour))
	submitted.Claim = &claim
	m.set(submitted)
	m.set(run(id).in("Running").since(time.Now().Add(-silentFor)))
}

// setUntaken makes a run that was claimed long ago with a Job of which Prefect knows, and that
// no pod has taken since.
func (m *memory) setUntaken(id string, claim prefect.Claim) {
	untaken := run(id).version(3).claimedBy(claim.Launcher, claim.Attempt, claim.Job, time.Now().Add(-time.Hour)).known()
	untaken.Claim = &claim
	m.set(untaken)
}

// put keeps a run as it is now. The caller holds the lock.
func (m *memory) put(r prefect.FlowRun) {
	if r.JobFirst && r.LastClaim == nil {
		r.LastClaim = m.lastClaim(r.ID)
	}
	m.runs[r.ID] = r
}

// lastClaim is the claim that a run was last submitted with, nil when somebody else
// submitted it. The caller holds the lock.
func (m *memory) lastClaim(id string) *prefect.Claim {
	for _, p := range slices.Backward(m.past[id]) {
		if p.state.Phase == prefect.Claimed {
			return p.claim
		}
	}
	return nil
}

// remember adds the state a run is in to its history. The caller holds the lock.
func (m *memory) remember(r prefect.FlowRun) {
	m.past[r.ID] = append(m.past[r.ID], past{versionOf(r), r.State, r.Claim})
}

func (m *memory) get(id string) prefect.FlowRun {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.runs[id]
}

// slow makes every request take so long from now on.
func (m *memory) slow(latency time.Duration) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.latency = latency
	return m
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
	if m.uneven {
		h := fnv.New32a()
		_, _ = fmt.Fprint(h, op, id, m.asked[op])
		latency -= latency * time.Duration(h.Sum32()%1000) / 10_000
	}
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

func (m *memory) matching(scope prefect.Scope, want func(prefect.FlowRun) bool) []prefect.FlowRun {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []prefect.FlowRun
	for _, r := range m.runs {
		if want(r) && scope.Takes(r.Place) {
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
	due := m.matching(q.Scope, func(r prefect.FlowRun) bool {
		return r.Claimable(q.Until) && r.RetriesIn(q.Namespace, q.NamespaceUID)
	})
	slices.SortStableFunc(due, func(a, b prefect.FlowRun) int { return a.Due.Compare(b.Due) })
	for i := range due {
		due[i].ReadAt = at
		if tasks := tasksOf(due[i]); len(tasks) > 0 {
			due[i] = withTasks(due[i], []recipe.Task{slices.MinFunc(tasks, inDueOrder)})
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

func (m *memory) Claimed(ctx context.Context, scope prefect.Scope) ([]prefect.FlowRun, error) {
	at := time.Now()
	if err := m.begin(ctx, "claimed", ""); err != nil {
		return nil, err
	}
	claimed := m.matching(scope, func(r prefect.FlowRun) bool { return r.Claim != nil })
	for i, r := range claimed {
		claimed[i] = prefect.FlowRun{ID: r.ID, Place: r.Place, State: r.State, Claim: r.Claim, StateAt: r.StateAt, ReadAt: at, KeepBy: keepBy(r)}
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
	tasks := slices.SortedFunc(slices.Values(tasksOf(r)), inDueOrder)
	return withTasks(r, tasks[:min(tasksAtOnce, len(tasks))]), nil
}

func (m *memory) History(ctx context.Context, id string, attempt prefect.Attempt) (prefect.History, error) {
	run, err := m.FlowRun(ctx, id)
	if err != nil {
		return prefect.History{}, err
	}
	h := prefect.History{Run: run}
	var since int
	n, _ := fmt.Sscanf(string(attempt), "v%d", &since) // of its own names the model knows the meaning
	ok := n == 1
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.past[id] {
		switch {
		case !ok || p.version <= since:
		case p.claim != nil:
			h.Claims = append(h.Claims, *p.claim)
		case p.state.Phase != prefect.Claimed:
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
	r = at(r, versionOf(r)) // of other tasks, or in another state
	r.StateAt = time.Now()
	if r.Revision != m.runs[id].Revision {
		m.remember(r)
	}
	m.put(r)
	m.writes = append(m.writes, fmt.Sprintf("%s %s %s", op, id, r.State.Name))
	return m.ask(op, id, true)
}

func (m *memory) Claim(ctx context.Context, run prefect.FlowRun, claim prefect.Claim) (prefect.ClaimResult, error) {
	if !run.State.Phase.IsWaiting() && !run.JobFirst {
		return prefect.ClaimResult{}, fmt.Errorf("claim a run that is %s", run.State.Name)
	}
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
	for _, state := range append([]prefect.State{run.State}, statesOf(tasksOf(run))...) {
		if len(state.Opaque) > maxOpaque {
			return prefect.ClaimResult{}, errTooLarge
		}
	}
	if run.State.Phase.IsWaiting() && m.locks != nil {
		if since, ok := m.locks[run.ID]; ok && time.Since(since) < 30*time.Second {
			return prefect.ClaimResult{Answer: prefect.NotNow, Reason: "already been submitted"}, nil
		}
		m.locks[run.ID] = time.Now()
	}
	was := m.runs[run.ID].State
	if run.State.Phase.IsWaiting() {
		if r, over := m.arbitrate(run, claim); over {
			return r, nil
		}
	}
	err := m.write("claim", run.ID, func(r *prefect.FlowRun) {
		if run.State.Phase.IsRunning() {
			*r = withTasks(*r, slices.DeleteFunc(slices.Clone(tasksOf(*r)), func(t recipe.Task) bool {
				return slices.ContainsFunc(tasksOf(run), func(c recipe.Task) bool { return c.ID == t.ID })
			}))
			return
		}
		*r = at(*r, versionOf(*r)+1)
		r.State = prefect.State{Phase: prefect.Claimed, Name: "Submitted", Message: "Submitted for execution"}
		r.Claim = &claim
	})
	switch {
	case errors.Is(err, prefect.ErrNotFound):
		return prefect.ClaimResult{Answer: prefect.Lost}, nil
	case err != nil:
		return prefect.ClaimResult{Answer: prefect.Unknown, Reason: err.Error()}, nil
	case m.arbitrates && was.Phase.IsFinished():
		return prefect.ClaimResult{Answer: prefect.Lost, Reason: revived}, nil
	}
	return prefect.ClaimResult{Answer: prefect.Won, Sole: m.arbitrates && run.State.Phase.IsWaiting()}, nil
}

func (m *memory) Pending(ctx context.Context, run prefect.FlowRun, why string) error {
	if err := m.begin(ctx, "pending", run.ID); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending = append(m.pending, run.ID+" "+why)
	return m.ask("pending", run.ID, true)
}

func (m *memory) Launched(ctx context.Context, _ prefect.FlowRun, _ prefect.Claim) error {
	if !m.neverTold {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (m *memory) Fail(ctx context.Context, run prefect.FlowRun, f prefect.Failure) error {
	return m.setState(ctx, "fail", run.ID, prefect.State{Phase: prefect.Finished, Name: "Failed", Message: f.Message}, func(*prefect.FlowRun) { m.failed[run.ID] = f.Kind })
}

func (m *memory) Cancelled(ctx context.Context, run prefect.FlowRun, message string) error {
	return m.setState(ctx, "cancel", run.ID, prefect.State{Phase: prefect.Cancelled, Name: "Cancelled", Message: message})
}

func (m *memory) HandBack(ctx context.Context, run prefect.FlowRun, at time.Time, message string) error {
	if run.State.Phase.IsFinished() {
		return fmt.Errorf("hand back a run that is %s", run.State.Name)
	}
	return m.setState(ctx, "hand back", run.ID, prefect.State{Phase: prefect.Waiting, Name: "Scheduled", StartTime: at, Message: message}, func(r *prefect.FlowRun) {
		r.HandedBack = run.HandedBack
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
		*r = at(*r, versionOf(*r)+1)
		r.State, r.Claim, r.HandedBack = s, nil, 0
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

func (m *memory) Keep(ctx context.Context, run prefect.FlowRun) (time.Time, error) {
	if err := m.begin(ctx, "heartbeat", run.ID); err != nil {
		return time.Time{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if r, ok := m.runs[run.ID]; ok {
		r.Heartbeat = now
		m.runs[run.ID] = r
	}
	return now.Add(keepFor), nil
}

// silentFor is how long a Running run gives no sign of life before it is silent.
const silentFor = 2 * time.Minute

func (m *memory) Supervise(ctx context.Context, troubled, active []string) (prefect.Supervision, error) {
	if err := m.begin(ctx, "supervise", ""); err != nil {
		return prefect.Supervision{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var s prefect.Supervision
	for _, id := range slices.Sorted(maps.Keys(m.runs)) {
		r := m.runs[id]
		row := prefect.JobRun{ID: id, Place: r.Place, Phase: r.State.Phase, StateAt: r.StateAt, NeverBegan: m.neverBegan(r)}
		if (r.State.Phase == prefect.Cancelling || r.State.Phase.IsFinished()) && slices.Contains(active, id) {
			s.Ending = append(s.Ending, row)
		}
		if slices.Contains(troubled, id) {
			s.Troubled = append(s.Troubled, row)
		}
		if claim := m.lastClaim(id); claim != nil && (r.State.Phase.IsRunning() || r.State.Phase == prefect.Claimed && r.HasJob) && len(tasksOf(r)) == 0 && (row.NeverBegan || time.Since(r.StateAt) >= silentFor && time.Since(r.Heartbeat) >= silentFor) {
			row.Claim = *claim
			s.Silent = append(s.Silent, row)
		}
	}
	return s, nil
}

// neverBegan reports whether a run was cancelled right after its claim. The caller holds
// the lock.
func (m *memory) neverBegan(r prefect.FlowRun) bool {
	past := m.past[r.ID]
	return r.State.Phase == prefect.Cancelling && len(past) > 1 && past[len(past)-2].claim != nil
}

func (m *memory) Announce(ctx context.Context, _ prefect.Scope) error {
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

// refuse makes every request of one kind fail from now on.
func (m *memory) refuse(op string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = func(asked, _ string, _ bool) error {
		if asked == op {
			return errors.New("not now")
		}
		return nil
	}
}

func (m *memory) states(ids ...string) map[string]string {
	states := map[string]string{}
	for _, id := range ids {
		states[id] = m.get(id).State.Name
	}
	return states
}

// infraLines are the run's lines of what Kubernetes says.
func (m *memory) infraLines(id string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var lines []string
	for _, e := range m.logs {
		if e.FlowRunID == id && e.Name == "k8s-infra" {
			lines = append(lines, string(e.Level)+" "+e.Message)
		}
	}
	return lines
}
