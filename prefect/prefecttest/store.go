package prefecttest

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// store is the database.
type store struct {
	mu       sync.Mutex
	now      func() time.Time
	tenants  []*tenant
	projects map[UUID]*project
	flows    map[UUID]*flow
	runs     map[UUID]*flowRun
	tasks    map[UUID]*task
	taskRuns map[UUID]*taskRun
	agents   map[UUID]*agent
	configs  map[UUID]any
	logs     map[UUID][]LogLine
	// byState makes the cost of a poll depend on the due runs, not on all runs.
	byState map[string]map[UUID]*flowRun
	byKey   map[runKey]*flowRun
	// made numbers rows, so that answers have an order without a request for one.
	made      int
	submitted submitted
}

type runKey struct {
	flow UUID
	key  string
}

type tenant struct {
	ID         UUID
	Name, Slug string
	Created    time.Time
}

type project struct {
	ID, TenantID UUID
	Name         string
	made         int
}

type flow struct {
	ID, ProjectID, TenantID, GroupID     UUID
	Name, CoreVersion, Key, VersionGroup string
	Version                              int
	Storage, RunConfig, Environment      any
	Settings                             map[string]any
	tasks                                []*task
	made                                 int
}

type task struct {
	ID, FlowID UUID
	Name, Slug string
	MaxRetries int
}

type flowRun struct {
	ID, FlowID, TenantID, AgentID UUID
	Name, IdempotencyKey          string
	Version, Resurrected          int
	Labels                        []string
	labels                        any // Labels in JSON
	Parameters, Context           any
	RunConfig                     any
	State                         state
	StateAt                       time.Time
	Scheduled, Start, End         time.Time
	Heartbeat                     time.Time
	Created, Updated              time.Time
	History                       []StateChange
	taskRuns                      []*taskRun
	made                          int
}

type taskRun struct {
	ID, FlowRunID     UUID
	task              *task
	MapIndex, Version int
	State             state
	StateAt           time.Time
	Start, End        time.Time
	retries, made     int
}

type agent struct {
	ID, TenantID      UUID
	Name              *string
	Type, CoreVersion string
	Labels            []string
	LastQueried       time.Time
	made              int
}

func newStore(now func() time.Time, replicas int) *store {
	return &store{
		now: now, tenants: []*tenant{{ID: newID(), Name: "default", Slug: "default", Created: now().UTC().Truncate(time.Microsecond)}},
		projects: map[UUID]*project{}, flows: map[UUID]*flow{}, runs: map[UUID]*flowRun{}, tasks: map[UUID]*task{},
		taskRuns: map[UUID]*taskRun{}, agents: map[UUID]*agent{}, configs: map[UUID]any{}, logs: map[UUID][]LogLine{},
		byState: map[string]map[UUID]*flowRun{}, byKey: map[runKey]*flowRun{}, submitted: newSubmitted(replicas),
	}
}

// newID is random even in repeatable tests: runs of two stand-ins meet in one cluster,
// and their Jobs must not.
func newID() UUID {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return UUID(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}

// clock is now as the database stores it.
func (s *store) clock() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

func (s *store) next() int {
	s.made++
	return s.made
}

func (s *store) tenant(id UUID) *tenant {
	i := slices.IndexFunc(s.tenants, func(t *tenant) bool { return t.ID == id })
	if i < 0 {
		return nil
	}
	return s.tenants[i]
}

// newRun holds the input of create_flow_run; nil means not given.
type newRun struct {
	flow                           *flow
	name, key                      string
	at                             time.Time
	labels                         []string
	runConfig, parameters, context any
}

// createRun makes a run, or finds the one with the same idempotency key.
func (s *store) createRun(n newRun) *flowRun {
	key := runKey{n.flow.ID, n.key}
	if r := s.byKey[key]; n.key != "" && r != nil {
		return r
	}
	if n.runConfig == nil {
		n.runConfig = n.flow.RunConfig
	}
	if n.labels == nil {
		n.labels = labelsOf(n.runConfig)
	}
	now := s.clock()
	if n.at.IsZero() {
		n.at = now
	}
	if n.name == "" {
		n.name = "run-" + string(newID()[:8])
	}
	r := &flowRun{
		ID: newID(), FlowID: n.flow.ID, TenantID: n.flow.TenantID, Name: n.name, IdempotencyKey: n.key,
		Labels: slices.Sorted(slices.Values(n.labels)), Parameters: orEmpty(n.parameters), Context: orEmpty(n.context),
		RunConfig: n.runConfig, Scheduled: n.at, Created: now, made: s.next(),
	}
	r.labels = anyList(r.Labels)
	for _, t := range n.flow.tasks {
		s.createTaskRun(r, t, -1)
	}
	s.runs[r.ID] = r
	if n.key != "" {
		s.byKey[key] = r
	}
	s.setState(r, plainState("Scheduled", "Flow run scheduled.", n.at))
	return r
}

func (s *store) createTaskRun(r *flowRun, t *task, index int) {
	tr := &taskRun{
		ID: newID(), FlowRunID: r.ID, task: t, MapIndex: index, Version: 1, StateAt: s.clock(), State: newTaskState(), made: s.next(),
	}
	r.taskRuns = append(r.taskRuns, tr)
	s.taskRuns[tr.ID] = tr
}

// setState inserts a state; there is no state machine to ask (prefect1-server §c).
func (s *store) setState(r *flowRun, st state) {
	now := s.clock()
	delete(s.byState[r.State.Type], r.ID)
	if s.byState[st.Type] == nil {
		s.byState[st.Type] = map[UUID]*flowRun{}
	}
	s.byState[st.Type][r.ID] = r
	r.State, r.StateAt, r.Updated = st, now, now
	r.Version++
	r.History = append(r.History, StateChange{Version: r.Version, Type: st.Type, Message: deref(st.Message), At: now, Due: st.StartTime, fields: st.fields})
	switch {
	case st.Type == "Running" && r.Start.IsZero():
		r.Start = now
	case IsFinished(st.Type):
		r.End = now
	}
	if st.Type == "Running" || st.Type == "Submitted" {
		r.Heartbeat = now
	}
	if st.Type == "Cancelled" {
		for _, tr := range r.taskRuns {
			if !IsFinished(tr.State.Type) {
				s.setTaskState(tr, st)
			}
		}
	}
}

func (s *store) setTaskState(tr *taskRun, st state) {
	now := s.clock()
	tr.State, tr.StateAt = st.carryingInputs(tr.State), now
	tr.Version++
	switch {
	case st.Type == "Running" && tr.Start.IsZero():
		tr.Start = now
	case st.Type == "Retrying":
		tr.retries++
	case IsFinished(st.Type):
		tr.End = now
	}
}

func (s *store) deleteRun(r *flowRun) {
	delete(s.runs, r.ID)
	delete(s.byState[r.State.Type], r.ID)
	delete(s.byKey, runKey{r.FlowID, r.IdempotencyKey})
	delete(s.logs, r.ID)
	for _, tr := range r.taskRuns {
		delete(s.taskRuns, tr.ID)
	}
}

// candidates narrows a query by id or state, so that finished runs cost nothing.
func (s *store) candidates(e *flowRunExp) []*flowRun {
	var out []*flowRun
	byID := func(ids ...UUID) {
		for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
			if r := s.runs[id]; r != nil {
				out = append(out, r)
			}
		}
	}
	byState := func(states ...string) {
		for _, st := range slices.Compact(slices.Sorted(slices.Values(states))) {
			out = slices.AppendSeq(out, maps.Values(s.byState[st]))
		}
	}
	switch {
	case e != nil && e.ID != nil && e.ID.Eq != nil:
		byID(*e.ID.Eq)
	case e != nil && e.ID != nil && e.ID.In != nil:
		byID(*e.ID.In...)
	case e != nil && e.State != nil && e.State.Eq != nil:
		byState(*e.State.Eq)
	case e != nil && e.State != nil && e.State.In != nil:
		byState(*e.State.In...)
	default:
		out = slices.AppendSeq(out, maps.Values(s.runs))
	}
	return out
}

// matching are the runs that an expression selects, in the order they were made.
func (s *store) matching(e *flowRunExp) []*flowRun {
	rows := slices.DeleteFunc(s.candidates(e), func(r *flowRun) bool { return !e.match(s, r) })
	slices.SortFunc(rows, func(a, b *flowRun) int { return cmp.Compare(a.made, b.made) })
	return rows
}

// inOrder are a table's rows in the order they were made.
func inOrder[T any](table map[UUID]*T, made func(*T) int) []*T {
	return slices.SortedFunc(maps.Values(table), func(a, b *T) int { return cmp.Compare(made(a), made(b)) })
}

func labelsOf(runConfig any) []string {
	config, _ := runConfig.(map[string]any)
	list, _ := config["labels"].([]any)
	var labels []string
	for _, l := range list {
		labels = append(labels, fmt.Sprint(l))
	}
	return labels
}

func anyList(labels []string) any {
	list := make([]any, len(labels))
	for i, l := range labels {
		list[i] = l
	}
	return list
}

func orEmpty(v any) any {
	if v == nil {
		return map[string]any{}
	}
	return v
}
