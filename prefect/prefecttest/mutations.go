package prefecttest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

type idPayload struct{ ID *UUID }

type successPayload struct {
	Success *bool
	Error   *string
}

type statePayload struct {
	ID                     *UUID
	State, Status, Message *string
}

type statesPayload struct{ States *[]statePayload }

func ok() *successPayload { return &successPayload{Success: ptr(true)} }

var errUnique = errors.New("Uniqueness violation.") //nolint:revive,staticcheck,gochecknoglobals // the server's text

func (q resolver) CreateTenant(args struct{ Input struct{ Name, Slug string } }) (*idPayload, error) {
	defer q.lock()()
	if args.Input.Slug == q.api.store.tenant.Slug {
		return nil, errUnique
	}
	return nil, errors.New("this stand-in has one tenant, default")
}

func (q resolver) CreateProject(args struct {
	Input struct {
		Name        string
		Description *string
		TenantID    *UUID
	}
},
) (*idPayload, error) {
	defer q.lock()()
	for _, p := range q.api.store.projects {
		if p.Name == args.Input.Name {
			return nil, errUnique
		}
	}
	p := &row{ID: newID(), Name: args.Input.Name}
	q.api.store.projects[p.ID] = p
	return &idPayload{&p.ID}, nil
}

// CreateFlowFromCompressedString is how the client registers: gzip, base64, JSON.
func (q resolver) CreateFlowFromCompressedString(ctx context.Context, args struct {
	Input struct {
		SerializedFlow                              string
		ProjectID                                   *UUID
		VersionGroupID, Description, IdempotencyKey *string
		SetScheduleActive                           *bool
	}
},
) (*idPayload, error) {
	text, err := decompress(args.Input.SerializedFlow)
	if err != nil {
		return nil, fmt.Errorf("serialized_flow: %w", err)
	}
	var serialized struct {
		Name      string `json:"name"`
		Version   string `json:"__version__"`
		Storage   any    `json:"storage"`
		RunConfig any    `json:"run_config"`
		Tasks     []struct {
			Name string `json:"name"`
			Slug string `json:"slug"`
		} `json:"tasks"`
	}
	if err := json.Unmarshal(text, &serialized); err != nil {
		return nil, fmt.Errorf("serialized_flow: %w", err)
	}
	defer q.lock()()
	var project UUID
	if args.Input.ProjectID != nil {
		project = *args.Input.ProjectID
	}
	f := q.api.store.addFlow(serialized.Name, project, serialized.Version, serialized.Storage, serialized.RunConfig)
	for _, t := range serialized.Tasks {
		q.api.store.addTask(f, t.Name, t.Slug)
	}
	return &idPayload{&f.ID}, nil
}

func decompress(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, err
	}
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out bytes.Buffer
	_, err = out.ReadFrom(r)
	return out.Bytes(), err
}

func (s *store) addFlow(name string, project UUID, version string, storage, runConfig any) *flow {
	f := &flow{
		ID: newID(), ProjectID: project, GroupID: newID(), Name: name, Version: 1, CoreVersion: version, Storage: storage, RunConfig: runConfig,
	}
	for _, other := range s.flows {
		if other.Name == name && other.ProjectID == project {
			f.GroupID, f.Version = other.GroupID, max(f.Version, other.Version+1)
		}
	}
	s.flows[f.ID] = f
	return f
}

func (s *store) addTask(f *flow, name, slug string) {
	if slices.ContainsFunc(f.tasks, func(t *task) bool { return t.Slug == slug }) {
		return
	}
	t := &task{ID: newID(), FlowID: f.ID, Name: name, Slug: slug}
	f.tasks = append(f.tasks, t)
	s.tasks[t.ID] = t
}

func (q resolver) RegisterTasks(args struct {
	Input struct {
		FlowID          UUID
		SerializedTasks []JSON
	}
},
) (*successPayload, error) {
	defer q.lock()()
	f := q.api.store.flows[args.Input.FlowID]
	if f == nil {
		return nil, errors.New("Invalid flow ID.") //nolint:revive,staticcheck // the server's text
	}
	for _, t := range args.Input.SerializedTasks {
		fields, _ := t.Value.(map[string]any)
		q.api.store.addTask(f, fmt.Sprint(fields["name"]), fmt.Sprint(fields["slug"]))
	}
	return ok(), nil
}

// RegisterEdges: nothing here asks for edges.
func (q resolver) RegisterEdges(struct {
	Input struct {
		FlowID          UUID
		SerializedEdges []JSON
	}
},
) *successPayload {
	return ok()
}

type flowInput struct{ Input struct{ FlowID UUID } }

// SetScheduleActive: flows have no schedules of their own here.
func (q resolver) SetScheduleActive(flowInput) *successPayload { return ok() }

// SetScheduleInactive is its counterpart.
func (q resolver) SetScheduleInactive(flowInput) *successPayload { return ok() }

func (q resolver) CreateFlowRun(args struct {
	Input struct {
		FlowID                                      *UUID
		VersionGroupID, FlowRunName, IdempotencyKey *string
		ScheduledStartTime                          *Time
		Parameters, Context, RunConfig              *JSON
		Labels                                      *[]string
	}
},
) (*idPayload, error) {
	defer q.lock()()
	in := args.Input
	if in.FlowID == nil || q.api.store.flows[*in.FlowID] == nil {
		return nil, errors.New("Invalid flow ID.") //nolint:revive,staticcheck // the server's text
	}
	n := newRun{flow: q.api.store.flows[*in.FlowID], labels: deref(in.Labels)}
	for into, from := range map[*string]*string{&n.name: in.FlowRunName, &n.key: in.IdempotencyKey} {
		if from != nil {
			*into = *from
		}
	}
	for into, from := range map[*any]*JSON{&n.parameters: in.Parameters, &n.context: in.Context, &n.runConfig: in.RunConfig} {
		if from != nil {
			*into = from.Value
		}
	}
	if in.ScheduledStartTime != nil {
		n.at = in.ScheduledStartTime.Time
	}
	return &idPayload{&q.api.store.createRun(n).ID}, nil
}

func (q resolver) CancelFlowRun(args struct{ Input struct{ FlowRunID UUID } }) (*statePayload, error) {
	defer q.lock()()
	r := q.api.store.runs[args.Input.FlowRunID]
	if r == nil {
		return nil, fmt.Errorf("flow run %s not found", args.Input.FlowRunID)
	}
	q.api.store.cancel(r)
	return &statePayload{ID: &r.ID, State: &r.State.Type}, nil
}

// cancel moves at once what no pod has begun; a running run is asked to stop.
func (s *store) cancel(r *flowRun) {
	switch {
	case isFinished(r.State.Type):
	case r.State.Type == "Running":
		s.setState(r, mustState(map[string]any{"type": "Cancelling", "message": "Flow run is cancelling"}))
	default:
		s.setState(r, mustState(map[string]any{"type": "Cancelled", "message": "Flow run is cancelled"}))
	}
}

func (q resolver) RegisterAgent(ctx context.Context, args struct {
	Input struct {
		Type          string
		Name          *string
		Labels        *[]string
		TenantID      *UUID
		AgentConfigID *UUID
	}
},
) (*idPayload, error) {
	defer q.lock()()
	in := args.Input
	if in.TenantID == nil || *in.TenantID != q.api.store.tenant.ID {
		return nil, errors.New("No tenant found.") //nolint:revive,staticcheck // the server's text
	}
	a := &agent{ID: newID(), Type: in.Type, CoreVersion: header(ctx, "X-PREFECT-CORE-VERSION"), Labels: slices.Sorted(slices.Values(deref(in.Labels)))}
	if in.Name != nil {
		a.Name = *in.Name
	}
	for _, other := range q.api.store.agents {
		if other.Type == a.Type && other.CoreVersion == a.CoreVersion && slices.Equal(other.Labels, a.Labels) && (in.Name == nil || other.Name == a.Name) {
			return &idPayload{&other.ID}, nil
		}
	}
	q.api.store.agents[a.ID] = a
	return &idPayload{&a.ID}, nil
}

type stateInput struct {
	FlowRunID UUID
	Version   *int32
	State     JSON
}

// SetFlowRunStates applies each state on its own: one that fails fails the call,
// and the others are written all the same (prefect1-server-facts a).
func (q resolver) SetFlowRunStates(ctx context.Context, args struct{ Input struct{ States []stateInput } }) (*statesPayload, error) {
	defer q.lock()()
	out := []statePayload{}
	var problem error
	for _, in := range args.Input.States {
		if err := q.setFlowRunState(ctx, in); err != nil {
			problem = cmpOr(problem, err)
			continue
		}
		out = append(out, statePayload{ID: ptr(in.FlowRunID), Status: ptr("SUCCESS")})
	}
	if problem != nil {
		return nil, problem
	}
	return &statesPayload{&out}, nil
}

func (q resolver) setFlowRunState(ctx context.Context, in stateInput) error {
	s := q.api.store
	if text, err := json.Marshal(in.State.Value); err != nil || len(text) > 1_000_000 {
		return errors.New("State payload is too large.") //nolint:revive,staticcheck // the server's text
	}
	st, err := parseState(in.State.Value)
	if err != nil {
		return err
	}
	r := s.runs[in.FlowRunID]
	if r == nil {
		return fmt.Errorf("State update failed for flow run ID %s", in.FlowRunID) //nolint:revive,staticcheck // the server's text
	}
	if st.Type == "Submitted" && !s.submit(r.ID) {
		return errors.New("State update failed: this run has already been submitted.") //nolint:revive,staticcheck // the server's text
	}
	s.setState(r, st)
	if id := header(ctx, "X-PREFECT-AGENT-ID"); id != "" && st.Type == "Submitted" {
		if !uuidForm.MatchString(id) { // after the insert: the error does not undo it
			return fmt.Errorf("invalid input syntax for type uuid: %q", id)
		}
		if s.agents[UUID(id)] != nil {
			r.AgentID = UUID(id)
		}
	}
	return nil
}

type taskStateInput struct {
	TaskRunID UUID
	Version   *int32
	State     JSON
}

func (q resolver) SetTaskRunStates(args struct {
	Input struct{ States []taskStateInput }
}) (*statesPayload, error) {
	defer q.lock()()
	out := []statePayload{}
	var problem error
	for _, in := range args.Input.States {
		if err := q.api.store.setTaskRunState(in); err != nil {
			problem = cmpOr(problem, err)
			continue
		}
		out = append(out, statePayload{ID: ptr(in.TaskRunID), Status: ptr("SUCCESS")})
	}
	if problem != nil {
		return nil, problem
	}
	return &statesPayload{&out}, nil
}

func (s *store) setTaskRunState(in taskStateInput) error {
	st, err := parseState(in.State.Value)
	if err != nil {
		return err
	}
	t := s.taskRuns[in.TaskRunID]
	if t == nil {
		return fmt.Errorf("State update failed for task run ID %s", in.TaskRunID) //nolint:revive,staticcheck // the server's text
	}
	if r := s.runs[t.FlowRunID]; st.Type == "Running" && r.State.Type != "Running" {
		return fmt.Errorf("State update failed for task run ID %s: provided a running state but associated flow run %s is not in a running state.", t.ID, r.ID) //nolint:revive,staticcheck // the server's text
	}
	s.setTaskState(t, st)
	return nil
}

func cmpOr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// UpdateFlowRunHeartbeat succeeds for unknown runs too.
func (q resolver) UpdateFlowRunHeartbeat(args struct{ Input struct{ FlowRunID UUID } }) *successPayload {
	defer q.lock()()
	if r := q.api.store.runs[args.Input.FlowRunID]; r != nil {
		r.Heartbeat = q.api.store.clock()
	}
	return ok()
}

type taskRunInfo struct {
	ID              *UUID
	Version         *int32
	SerializedState *JSON
}

func (q resolver) GetOrCreateTaskRunInfo(args struct {
	Input struct {
		FlowRunID, TaskID UUID
		MapIndex          *int32
	}
},
) (*taskRunInfo, error) {
	defer q.lock()()
	s, in := q.api.store, args.Input
	index := -1
	if in.MapIndex != nil {
		index = int(*in.MapIndex)
	}
	r, t := s.runs[in.FlowRunID], s.tasks[in.TaskID]
	if r == nil || t == nil {
		return nil, errors.New("Invalid flow run or task ID.") //nolint:revive,staticcheck // in the server's manner
	}
	i := slices.IndexFunc(r.taskRuns, func(tr *taskRun) bool { return tr.TaskID == t.ID && tr.MapIndex == index })
	var tr *taskRun
	if i >= 0 {
		tr = r.taskRuns[i]
	} else {
		tr = s.createTaskRun(r, t, index)
	}
	return &taskRunInfo{&tr.ID, ptr(int32(tr.Version)), &JSON{tr.State.fields}}, nil
}

// WriteRunLogs stores a batch or, when one line names an unknown run, none of it.
func (q resolver) WriteRunLogs(args struct {
	Input struct {
		Logs []struct {
			FlowRunID, TaskRunID *UUID
			Timestamp            *Time
			Name, Level, Message *string
			Info                 *JSON
		}
	}
},
) (*successPayload, error) {
	defer q.lock()()
	s := q.api.store
	for _, l := range args.Input.Logs {
		if l.FlowRunID != nil && s.runs[*l.FlowRunID] == nil {
			return nil, errors.New("Foreign key violation.") //nolint:revive,staticcheck // the server's text
		}
	}
	for _, l := range args.Input.Logs {
		if l.FlowRunID == nil || l.Message == nil {
			continue
		}
		line := LogLine{Level: "INFO", Message: *l.Message, At: s.clock()}
		if l.Name != nil {
			line.Name = *l.Name
		}
		if l.Level != nil {
			line.Level = *l.Level
		}
		if l.Timestamp != nil {
			line.At = l.Timestamp.Time
		}
		s.logs[*l.FlowRunID] = append(s.logs[*l.FlowRunID], line)
	}
	return ok(), nil
}

type runsInQueue struct{ FlowRunIds *[]UUID }

const (
	queueReturns = 25
	queueReads   = 3 * queueReturns
)

// GetRunsInQueue reads the oldest due runs of everybody and filters labels
// afterwards, so a backlog of others hides ours (prefect1-server-facts d).
func (q resolver) GetRunsInQueue(ctx context.Context, args struct {
	Input struct {
		Before   *Time
		Labels   *[]string
		TenantID UUID
	}
},
) (*runsInQueue, error) {
	defer q.lock()()
	s := q.api.store
	ids := []UUID{}
	if id := header(ctx, "X-PREFECT-AGENT-ID"); id != "" {
		if !uuidForm.MatchString(id) {
			return nil, fmt.Errorf("invalid input syntax for type uuid: %q", id)
		}
		if a := s.agents[UUID(id)]; a != nil {
			a.LastQueried = s.clock()
		}
	}
	if args.Input.TenantID != s.tenant.ID {
		return &runsInQueue{&ids}, nil
	}
	before := s.clock()
	if args.Input.Before != nil {
		before = args.Input.Before.Time
	}
	labels := deref(args.Input.Labels)
	for _, r := range s.dueRuns(before) {
		if len(ids) == queueReturns {
			break
		}
		if labelsMatch(labels, r.Labels) {
			ids = append(ids, r.ID)
		}
	}
	return &runsInQueue{&ids}, nil
}

// dueRuns are the first rows get_runs_in_queue looks at, in its order.
func (s *store) dueRuns(before time.Time) []*flowRun {
	due := func(t time.Time) bool { return !t.IsZero() && !t.After(before) }
	var rows []*flowRun
	for _, st := range scheduledFamily() {
		for _, r := range s.byState[st] {
			if due(r.State.StartTime) {
				rows = append(rows, r)
			}
		}
	}
	for _, r := range s.byState["Running"] {
		if slices.ContainsFunc(r.taskRuns, func(t *taskRun) bool { return isScheduled(t.State.Type) && due(t.State.StartTime) }) {
			rows = append(rows, r)
		}
	}
	sortBy(rows, []ordering[*flowRun]{
		{ptr("asc"), func(a, b *flowRun) int { return a.State.StartTime.Compare(b.State.StartTime) }, func(r *flowRun) bool { return r.State.StartTime.IsZero() }},
		{ptr("asc"), func(a, b *flowRun) int { return a.Created.Compare(b.Created) }, nil},
	})
	return rows[:min(queueReads, len(rows))]
}

// labelsMatch: a run's labels must all be the agent's, and an agent with labels
// does not get runs without.
func labelsMatch(agent, run []string) bool {
	if len(agent) > 0 && len(run) == 0 {
		return false
	}
	return !slices.ContainsFunc(run, func(l string) bool { return !slices.Contains(agent, l) })
}
