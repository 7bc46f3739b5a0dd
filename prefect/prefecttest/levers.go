package prefecttest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Run is a flow run for tests to look at.
type Run struct {
	ID          string        `json:"id"`
	FlowID      string        `json:"flow_id"`
	AgentID     string        `json:"agent_id,omitempty"`
	Name        string        `json:"name"`
	State       string        `json:"state"`
	Message     string        `json:"message"`
	Version     int           `json:"version"`
	Resurrected int           `json:"resurrected"`
	Labels      []string      `json:"labels"`
	Due         time.Time     `json:"due"`
	Heartbeat   time.Time     `json:"heartbeat"`
	History     []StateChange `json:"history"`
	Logs        []LogLine     `json:"logs"`
	TaskRuns    []TaskRun     `json:"task_runs"`
}

// StateChange is one state a flow run was given.
type StateChange struct {
	Version int       `json:"version"`
	Type    string    `json:"type"`
	Message string    `json:"message"`
	At      time.Time `json:"at"`
	// Due is the state's own start time.
	Due    time.Time `json:"due"`
	fields map[string]any
}

// TaskRun is one of a flow run's task runs.
type TaskRun struct {
	ID       string `json:"id"`
	Slug     string `json:"slug"`
	MapIndex int    `json:"map_index"`
	State    string `json:"state"`
	Message  string `json:"message"`
	Version  int    `json:"version"`
}

// Agent is an agent's registration, and when it last asked for work.
type Agent struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Type        string    `json:"type"`
	CoreVersion string    `json:"core_version"`
	Labels      []string  `json:"labels"`
	LastQueried time.Time `json:"last_queried"`
}

// Tenant returns the id of the default tenant.
func (a *API) Tenant() string {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	return string(a.store.tenants[0].ID)
}

// CreateTenant makes another tenant and returns its id.
func (a *API) CreateTenant(slug string) string {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	t := &tenant{ID: newID(), Name: slug, Slug: slug, Created: a.store.clock()}
	a.store.tenants = append(a.store.tenants, t)
	return string(t.ID)
}

// CreateAgentConfig makes an agent config and returns its id.
func (a *API) CreateAgentConfig(settings map[string]any) string {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	id := newID()
	a.store.configs[id] = asJSON(settings)
	return string(id)
}

// FlowSpec asks for a flow. Empty members mean a plain flow of the default tenant.
type FlowSpec struct {
	Name        string         `json:"name"`
	TenantID    string         `json:"tenant_id"`
	CoreVersion string         `json:"core_version"`
	Tasks       []string       `json:"tasks"`
	Storage     any            `json:"storage"`
	RunConfig   any            `json:"run_config"`
	Settings    map[string]any `json:"settings"` // heartbeat_enabled, lazarus_enabled
}

// CreateFlow registers a flow unknown to Python, and returns its id.
func (a *API) CreateFlow(spec FlowSpec) string {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	return string(a.store.createFlow(spec).ID)
}

func (s *store) createFlow(spec FlowSpec) *flow {
	f := flow{
		Name: cmp.Or(spec.Name, "flow"), TenantID: cmp.Or(UUID(spec.TenantID), s.tenants[0].ID), CoreVersion: cmp.Or(spec.CoreVersion, coreVersion),
		Storage: spec.Storage, RunConfig: spec.RunConfig,
	}
	if f.Storage == nil {
		f.Storage = map[string]any{"type": "Local", "__version__": coreVersion}
	}
	if f.RunConfig == nil {
		f.RunConfig = map[string]any{"type": "UniversalRun", "labels": []any{}, "env": nil, "__version__": coreVersion}
	}
	added, _ := s.addFlow(f)
	added.Settings = maps.Clone(spec.Settings)
	for _, slug := range spec.Tasks {
		s.addTask(added, serializedTask{Name: slug, Slug: slug})
	}
	return added
}

// Order asks for flow runs.
type Order struct {
	// FlowID of a flow; empty for one without tasks that is always there.
	FlowID string `json:"flow_id"`
	// Count of runs; zero is one.
	Count int    `json:"count"`
	Name  string `json:"name"`
	// In is the time until they are due; zero is now.
	In Duration `json:"in"`
	// Labels of the runs; nil for those of the run config.
	Labels     []string `json:"labels"`
	RunConfig  any      `json:"run_config"`
	Parameters any      `json:"parameters"`
	Context    any      `json:"context"`
}

// CreateRuns creates flow runs as create_flow_run does, and returns their ids.
func (a *API) CreateRuns(o Order) []string {
	s := a.store
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flows[UUID(o.FlowID)]
	if f == nil {
		f = s.blankFlow()
	}
	n := newRun{
		flow: f, name: o.Name, at: s.clock().Add(time.Duration(o.In)), labels: o.Labels,
		runConfig: asJSON(o.RunConfig), parameters: asJSON(o.Parameters), context: asJSON(o.Context),
	}
	var ids []string
	for range max(1, o.Count) {
		ids = append(ids, string(s.createRun(n).ID))
	}
	return ids
}

// asJSON is a Go value as it would come over the wire.
func asJSON(v any) any {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // the test's own value
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		panic(err)
	}
	return out
}

// blankFlow is the flow of runs that are never executed.
func (s *store) blankFlow() *flow {
	for _, f := range s.flows {
		if f.Name == "blank" && f.ProjectID == "" {
			return f
		}
	}
	return s.createFlow(FlowSpec{Name: "blank"})
}

// Runs returns the runs with these ids, or all of them, oldest first.
func (a *API) Runs(ids ...string) []Run {
	s := a.store
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows []*flowRun
	for _, id := range ids {
		if r := s.runs[UUID(id)]; r != nil {
			rows = append(rows, r)
		}
	}
	if len(ids) == 0 {
		rows = slices.Collect(maps.Values(s.runs))
	}
	slices.SortFunc(rows, func(a, b *flowRun) int { return cmp.Or(a.Scheduled.Compare(b.Scheduled), cmp.Compare(a.made, b.made)) })
	runs := []Run{}
	for _, r := range rows {
		run := Run{
			ID: string(r.ID), FlowID: string(r.FlowID), AgentID: string(r.AgentID), Name: r.Name, State: r.State.Type, Message: deref(r.State.Message),
			Version: r.Version, Resurrected: r.Resurrected, Labels: r.Labels, Due: r.Scheduled, Heartbeat: r.Heartbeat,
			History: slices.Clone(r.History), Logs: slices.Clone(s.logs[r.ID]),
		}
		for _, t := range r.taskRuns {
			run.TaskRuns = append(run.TaskRuns, TaskRun{
				ID: string(t.ID), Slug: t.task.Slug, MapIndex: t.MapIndex, State: t.State.Type, Message: deref(t.State.Message), Version: t.Version,
			})
		}
		runs = append(runs, run)
	}
	return runs
}

// States counts the runs in each state.
func (a *API) States() map[string]int {
	s := a.store
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]int{}
	for name, runs := range s.byState {
		if len(runs) > 0 {
			counts[name] = len(runs)
		}
	}
	return counts
}

// Agents returns the agents in the order they registered.
func (a *API) Agents() []Agent {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	agents := []Agent{}
	for _, g := range inOrder(a.store.agents, func(g *agent) int { return g.made }) {
		agents = append(agents, Agent{string(g.ID), deref(g.Name), g.Type, g.CoreVersion, slices.Clone(g.Labels), g.LastQueried})
	}
	return agents
}

// SetState writes a flow run's state from the outside, as a person does in the UI.
func (a *API) SetState(id string, fields map[string]any) error {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	st, err := parseState(fields, a.store.clock())
	if err != nil {
		return err
	}
	r := a.store.runs[UUID(id)]
	if r == nil {
		return fmt.Errorf("set the state of flow run %s: there is no such run", id)
	}
	a.store.setState(r, st)
	return nil
}

// SetTaskState writes a task run's state from the outside.
func (a *API) SetTaskState(id string, fields map[string]any) error {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	st, err := parseState(fields, a.store.clock())
	if err != nil {
		return err
	}
	t := a.store.taskRuns[UUID(id)]
	if t == nil {
		return fmt.Errorf("set the state of task run %s: there is no such run", id)
	}
	a.store.setTaskState(t, st)
	return nil
}

// SetHeartbeat ages or renews a flow run's heartbeat.
func (a *API) SetHeartbeat(id string, at time.Time) {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	if r := a.store.runs[UUID(id)]; r != nil {
		r.Heartbeat = at
	}
}

// Cancel is the UI's cancel button.
func (a *API) Cancel(id string) {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	if r := a.store.runs[UUID(id)]; r != nil {
		a.store.cancel(r)
	}
}

// Delete removes a flow run for good.
func (a *API) Delete(id string) {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	if r := a.store.runs[UUID(id)]; r != nil {
		a.store.deleteRun(r)
	}
}

// RestartAPI makes the API processes forget the runs that were submitted lately.
func (a *API) RestartAPI() {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	a.store.submitted.forget()
}
