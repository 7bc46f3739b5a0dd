package prefecttest

import (
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// submittedLock is how long one API process remembers a submission.
const submittedLock = 30 * time.Second

// store is the database and what the API processes remember beside it.
type store struct {
	mu       sync.Mutex
	now      func() time.Time
	tenant   row
	projects map[UUID]*row
	flows    map[UUID]*flow
	runs     map[UUID]*flowRun
	byState  map[string]map[UUID]*flowRun
	tasks    map[UUID]*task
	taskRuns map[UUID]*taskRun
	agents   map[UUID]*agent
	settings map[UUID]any // agent configs
	logs     map[UUID][]LogLine
	// submitted is one set per API process; a request lands on the next one.
	submitted []map[UUID]time.Time
	turn      int
}

type row struct {
	ID         UUID
	Name, Slug string
}

type flow struct {
	ID, ProjectID, GroupID      UUID
	Name                        string
	Version                     int
	CoreVersion                 string
	Storage, RunConfig, Setting any
	tasks                       []*task
}

type task struct {
	ID         UUID
	FlowID     UUID
	Name, Slug string
}

type flowRun struct {
	ID, FlowID, AgentID   UUID
	Name                  string
	Version               int
	Labels                []string
	Parameters, Context   any
	RunConfig             any
	State                 state
	StateAt               time.Time
	Scheduled, Start, End time.Time
	Heartbeat             time.Time
	Resurrected           int
	Created, Updated      time.Time
	IdempotencyKey        string
	History               []StateChange
	taskRuns              []*taskRun
}

type taskRun struct {
	ID, FlowRunID, TaskID UUID
	MapIndex              int
	Version               int
	State                 state
	StateAt               time.Time
}

type agent struct {
	ID                      UUID
	Name, Type, CoreVersion string
	Labels                  []string
	LastQueried             time.Time
}

// StateChange is one state a flow run was given.
type StateChange struct {
	Version int       `json:"version"`
	Type    string    `json:"type"`
	Message string    `json:"message"`
	At      time.Time `json:"at"`
}

// LogLine is one line of a flow run's log.
type LogLine struct {
	Name    string    `json:"name"`
	Level   string    `json:"level"`
	Message string    `json:"message"`
	At      time.Time `json:"at"`
}

func newStore(now func() time.Time, replicas int) *store {
	s := &store{
		now: now, tenant: row{ID: newID(), Name: "default", Slug: "default"},
		projects: map[UUID]*row{}, flows: map[UUID]*flow{}, runs: map[UUID]*flowRun{}, byState: map[string]map[UUID]*flowRun{},
		tasks: map[UUID]*task{}, taskRuns: map[UUID]*taskRun{}, agents: map[UUID]*agent{}, settings: map[UUID]any{}, logs: map[UUID][]LogLine{},
	}
	for range max(1, replicas) {
		s.submitted = append(s.submitted, map[UUID]time.Time{})
	}
	return s
}

func newID() UUID {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return UUID(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}

// clock is now as the database stores it.
func (s *store) clock() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// newRun is what create_flow_run makes: Scheduled, version 1.
type newRun struct {
	flow                *flow
	name, key           string
	at                  time.Time
	labels              []string // nil: from the run config
	runConfig           any      // nil: the flow's
	parameters, context any
}

func (s *store) createRun(n newRun) *flowRun {
	if n.key != "" {
		for _, r := range s.runs {
			if r.IdempotencyKey == n.key && r.FlowID == n.flow.ID {
				return r
			}
		}
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
		ID: newID(), FlowID: n.flow.ID, Name: n.name, Labels: slices.Sorted(slices.Values(n.labels)),
		Parameters: orEmpty(n.parameters), Context: orEmpty(n.context), RunConfig: n.runConfig,
		Scheduled: n.at, Created: now, IdempotencyKey: n.key,
	}
	for _, t := range n.flow.tasks {
		s.createTaskRun(r, t, -1)
	}
	s.runs[r.ID] = r
	s.setState(r, scheduledState("Flow run scheduled.", n.at))
	return r
}

func (s *store) createTaskRun(r *flowRun, t *task, index int) *taskRun {
	tr := &taskRun{
		ID: newID(), FlowRunID: r.ID, TaskID: t.ID, MapIndex: index, Version: 1, StateAt: s.clock(),
		State: mustState(map[string]any{"type": "Pending", "message": "Task run created"}),
	}
	r.taskRuns = append(r.taskRuns, tr)
	s.taskRuns[tr.ID] = tr
	return tr
}

// setState inserts a state; there is no state machine to ask (prefect1-server-facts c).
func (s *store) setState(r *flowRun, st state) {
	now := s.clock()
	if old := s.byState[r.State.Type]; old != nil {
		delete(old, r.ID)
	}
	if s.byState[st.Type] == nil {
		s.byState[st.Type] = map[UUID]*flowRun{}
	}
	s.byState[st.Type][r.ID] = r
	r.State, r.StateAt, r.Updated = st, now, now
	r.Version++
	r.History = append(r.History, StateChange{Version: r.Version, Type: st.Type, Message: st.Message, At: now})
	switch {
	case st.Type == "Running" && r.Start.IsZero():
		r.Start = now
	case isFinished(st.Type):
		r.End = now
	}
	if st.Type == "Running" || st.Type == "Submitted" {
		r.Heartbeat = now
	}
	if st.Type == "Cancelled" {
		for _, tr := range r.taskRuns {
			if !isFinished(tr.State.Type) {
				s.setTaskState(tr, st)
			}
		}
	}
}

func (s *store) setTaskState(tr *taskRun, st state) {
	if st.fields["cached_inputs"] == nil {
		st.fields["cached_inputs"] = tr.State.fields["cached_inputs"]
	}
	tr.State, tr.StateAt = st, s.clock()
	tr.Version++
}

// submit takes the lock an API process holds on Submitted; it is never given back early.
func (s *store) submit(id UUID) bool {
	set := s.submitted[s.turn%len(s.submitted)]
	s.turn++
	now := s.now()
	maps.DeleteFunc(set, func(_ UUID, at time.Time) bool { return now.Sub(at) >= submittedLock })
	if _, locked := set[id]; locked {
		return false
	}
	set[id] = now
	return true
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

func orEmpty(v any) any {
	if v == nil {
		return map[string]any{}
	}
	return v
}
