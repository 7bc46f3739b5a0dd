package prefecttest

import (
	"cmp"
	"slices"
	"time"
)

// runRow is a flow run with its relations, as it was at the query.
type runRow struct {
	s     *store
	r     flowRun
	flow  *flowRow
	tasks []taskRunRow
}

func (s *store) runRow(r *flowRun) runRow {
	row := runRow{s: s, r: *r}
	if f := s.flows[r.FlowID]; f != nil {
		row.flow = s.flowRow(f)
	}
	for _, t := range r.taskRuns {
		row.tasks = append(row.tasks, taskRunRow{t: *t, tenant: r.TenantID})
	}
	return row
}

func (r runRow) ID() UUID                  { return r.r.ID }
func (r runRow) Name() *string             { return &r.r.Name }
func (r runRow) FlowID() *UUID             { return &r.r.FlowID }
func (r runRow) TenantID() *UUID           { return &r.r.TenantID }
func (r runRow) AgentID() *UUID            { return optionalID(r.r.AgentID) }
func (r runRow) Version() int32            { return int32(r.r.Version) }
func (r runRow) Labels() *JSON             { return &JSON{r.r.labels} }
func (r runRow) Parameters() *JSON         { return optionalJSON(r.r.Parameters) }
func (r runRow) Context() *JSON            { return optionalJSON(r.r.Context) }
func (r runRow) RunConfig() *JSON          { return optionalJSON(r.r.RunConfig) }
func (r runRow) State() *string            { return &r.r.State.Type }
func (r runRow) StateMessage() *string     { return r.r.State.Message }
func (r runRow) StateStartTime() *Time     { return optionalTime(r.r.State.StartTime) }
func (r runRow) StateTimestamp() *Time     { return optionalTime(r.r.StateAt) }
func (r runRow) ScheduledStartTime() *Time { return optionalTime(r.r.Scheduled) }
func (r runRow) StartTime() *Time          { return optionalTime(r.r.Start) }
func (r runRow) EndTime() *Time            { return optionalTime(r.r.End) }
func (r runRow) Heartbeat() *Time          { return optionalTime(r.r.Heartbeat) }
func (r runRow) TimesResurrected() *int32  { return new(int32(r.r.Resurrected)) }
func (r runRow) IdempotencyKey() *string   { return optionalString(r.r.IdempotencyKey) }
func (r runRow) Created() *Time            { return optionalTime(r.r.Created) }
func (r runRow) Updated() *Time            { return optionalTime(r.r.Updated) }
func (r runRow) Flow() *flowRow            { return r.flow }

// SerializedState is the state, or its part at a path.
func (r runRow) SerializedState(args pathArgs) *JSON { return within(r.r.State.fields, args.Path) }

func (r runRow) TaskRuns(args taskRunArgs) []taskRunRow { return args.pick(slices.Clone(r.tasks)) }

// Logs are copied only on request: a poll must not copy them.
func (r runRow) Logs(args logArgs) []logRow {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return args.pick(r.s.logRows(&r.r))
}

type stateRow struct{ c StateChange }

func (r stateRow) Version() *int32  { return new(int32(r.c.Version)) }
func (r stateRow) State() *string   { return &r.c.Type }
func (r stateRow) Message() *string { return optionalString(r.c.Message) }
func (r stateRow) Timestamp() *Time { return optionalTime(r.c.At) }
func (r stateRow) StartTime() *Time { return optionalTime(r.c.Due) }

// SerializedState is the state, or its part at a path.
func (r stateRow) SerializedState(args pathArgs) *JSON { return within(r.c.fields, args.Path) }

// States are all the states of the run.
func (r runRow) States(args struct {
	Where *struct {
		State   *stringExp
		Version *intExp
	}
	OrderBy       *[]struct{ Version, Timestamp *string }
	Limit, Offset *int32
},
) []stateRow {
	rows := []stateRow{}
	for _, c := range r.r.History {
		if w := args.Where; w == nil || (matchString(w.State, c.Type) && matchInt(w.Version, c.Version)) {
			rows = append(rows, stateRow{c})
		}
	}
	var by []ordering[stateRow]
	for _, o := range deref(args.OrderBy) {
		by = append(
			by, byKey(o.Version, func(a, b stateRow) int { return cmp.Compare(a.c.Version, b.c.Version) }),
			byTime(o.Timestamp, func(r stateRow) time.Time { return r.c.At }),
		)
	}
	sortBy(rows, by)
	return page(rows, args.Limit, args.Offset)
}

type runOrder struct {
	ID, Name, State, Version, StateStartTime, StateTimestamp, ScheduledStartTime, StartTime, EndTime, Heartbeat, Created *string
}

func (o runOrder) orderings() []ordering[*flowRun] {
	return []ordering[*flowRun]{
		byKey(o.ID, func(a, b *flowRun) int { return cmp.Compare(a.ID, b.ID) }),
		byKey(o.Name, func(a, b *flowRun) int { return cmp.Compare(a.Name, b.Name) }),
		byKey(o.State, func(a, b *flowRun) int { return cmp.Compare(a.State.Type, b.State.Type) }),
		byKey(o.Version, func(a, b *flowRun) int { return cmp.Compare(a.Version, b.Version) }),
		byTime(o.StateStartTime, func(r *flowRun) time.Time { return r.State.StartTime }),
		byTime(o.StateTimestamp, func(r *flowRun) time.Time { return r.StateAt }),
		byTime(o.ScheduledStartTime, func(r *flowRun) time.Time { return r.Scheduled }),
		byTime(o.StartTime, func(r *flowRun) time.Time { return r.Start }),
		byTime(o.EndTime, func(r *flowRun) time.Time { return r.End }),
		byTime(o.Heartbeat, func(r *flowRun) time.Time { return r.Heartbeat }),
		byTime(o.Created, func(r *flowRun) time.Time { return r.Created }),
	}
}

func (q resolver) FlowRun(args struct {
	Where         *flowRunExp
	OrderBy       *[]runOrder
	Limit, Offset *int32
},
) []runRow {
	defer q.lock()()
	s := q.api.store
	rows := s.matching(args.Where)
	var by []ordering[*flowRun]
	for _, o := range deref(args.OrderBy) {
		by = append(by, o.orderings()...)
	}
	sortBy(rows, by)
	out := []runRow{}
	for _, r := range page(rows, args.Limit, args.Offset) {
		out = append(out, s.runRow(r))
	}
	return out
}

func (q resolver) FlowRunByPk(args pk) *runRow {
	defer q.lock()()
	if r := q.api.store.runs[args.ID]; r != nil {
		return new(q.api.store.runRow(r))
	}
	return nil
}

type aggregate struct{ Aggregate *countRow }

type countRow struct{ Count int32 }

func (q resolver) FlowRunAggregate(args struct{ Where *flowRunExp }) aggregate {
	defer q.lock()()
	return aggregate{&countRow{int32(len(q.api.store.matching(args.Where)))}}
}

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
	f := q.api.store.flows[deref(in.FlowID)]
	if in.FlowID == nil {
		f = q.api.store.newest(deref(in.VersionGroupID))
	}
	if f == nil {
		return nil, say("Invalid flow ID.")
	}
	r := q.api.store.createRun(newRun{
		flow: f, name: deref(in.FlowRunName), key: deref(in.IdempotencyKey), at: deref(in.ScheduledStartTime).Time, labels: deref(in.Labels),
		runConfig: deref(in.RunConfig).Value, parameters: deref(in.Parameters).Value, context: deref(in.Context).Value,
	})
	return &idPayload{new(r.ID)}, nil
}

// newest is the latest version in a version group.
func (s *store) newest(versionGroup string) *flow {
	var newest *flow
	for _, f := range s.flows {
		if f.VersionGroup == versionGroup && (newest == nil || f.Version > newest.Version) {
			newest = f
		}
	}
	return newest
}

type runInput struct{ Input struct{ FlowRunID UUID } }

func (q resolver) DeleteFlowRun(args runInput) *successPayload {
	defer q.lock()()
	if r := q.api.store.runs[args.Input.FlowRunID]; r != nil {
		q.api.store.deleteRun(r)
	}
	return ok()
}

func (q resolver) SetFlowRunName(args struct {
	Input struct {
		FlowRunID UUID
		Name      string
	}
},
) *successPayload {
	defer q.lock()()
	if r := q.api.store.runs[args.Input.FlowRunID]; r != nil {
		r.Name = args.Input.Name
	}
	return ok()
}

// UpdateFlowRunHeartbeat succeeds for unknown runs too (prefect1-server §f).
func (q resolver) UpdateFlowRunHeartbeat(args runInput) *successPayload {
	defer q.lock()()
	if r := q.api.store.runs[args.Input.FlowRunID]; r != nil {
		r.Heartbeat = q.api.store.clock()
	}
	return ok()
}
