package prefecttest

import (
	"cmp"
	"context"
	"time"
)

// resolver answers the root fields.
type resolver struct{ api *API }

func (q resolver) lock() func() {
	q.api.store.mu.Lock()
	return q.api.store.mu.Unlock
}

func (q resolver) Hello() *string { return ptr("👋") }

type apiRow struct{ Backend, Mode *string }

func (q resolver) Api() *apiRow { //nolint:revive,staticcheck // named by the field
	return &apiRow{ptr("SERVER"), ptr("normal")}
}

type authInfo struct{ TenantID *UUID }

func (q resolver) AuthInfo() *authInfo { return &authInfo{&q.api.store.tenant.ID} }

type namedRow struct {
	ID         UUID
	Name, Slug *string
}

func (q resolver) Tenant(args struct {
	Where *struct {
		ID   *uuidExp
		Slug *stringExp
	}
	OrderBy *[]struct{ Slug *string }
},
) []namedRow {
	t := q.api.store.tenant
	if args.Where != nil && !(args.Where.ID.match(t.ID) && args.Where.Slug.match(t.Slug)) {
		return []namedRow{}
	}
	return []namedRow{{t.ID, &t.Name, &t.Slug}}
}

type projectExp struct {
	ID   *uuidExp
	Name *stringExp
}

func (e *projectExp) match(p *row) bool {
	return e == nil || (p != nil && e.ID.match(p.ID) && e.Name.match(p.Name))
}

func (q resolver) Project(args struct{ Where *projectExp }) []namedRow {
	defer q.lock()()
	rows := []namedRow{}
	for _, p := range q.api.store.projects {
		if args.Where.match(p) {
			rows = append(rows, namedRow{p.ID, &p.Name, nil})
		}
	}
	return rows
}

type agentConfig struct {
	ID       UUID
	Settings *JSON
}

func (q resolver) AgentConfig(args struct{ Where *struct{ ID *uuidExp } }) []agentConfig {
	defer q.lock()()
	rows := []agentConfig{}
	for id, settings := range q.api.store.settings {
		if args.Where == nil || args.Where.ID.match(id) {
			rows = append(rows, agentConfig{id, optionalJSON(settings)})
		}
	}
	return rows
}

type agentRow struct {
	ID                      UUID
	Name, Type, CoreVersion *string
	Labels                  *JSON
	LastQueried             *Time
}

func (q resolver) Agent() []agentRow {
	defer q.lock()()
	rows := []agentRow{}
	for _, a := range q.api.store.agents {
		rows = append(rows, agentRow{a.ID, &a.Name, &a.Type, &a.CoreVersion, &JSON{anyList(a.Labels)}, optionalTime(a.LastQueried)})
	}
	return rows
}

// flowRow is a flow with its relations.
type flowRow struct {
	s *store
	f *flow
}

func (r flowRow) ID() UUID             { return r.f.ID }
func (r flowRow) Name() *string        { return &r.f.Name }
func (r flowRow) Version() *int32      { return ptr(int32(r.f.Version)) }
func (r flowRow) Archived() *bool      { return ptr(false) }
func (r flowRow) CoreVersion() *string { return &r.f.CoreVersion }
func (r flowRow) Environment() *JSON   { return nil }
func (r flowRow) Storage() *JSON       { return optionalJSON(r.f.Storage) }
func (r flowRow) RunConfig() *JSON     { return optionalJSON(r.f.RunConfig) }
func (r flowRow) Settings() *JSON      { return &JSON{orEmpty(r.f.Setting)} }
func (r flowRow) FlowGroupID() *UUID   { return &r.f.GroupID }
func (r flowRow) Project() *namedRow {
	if p := r.s.projects[r.f.ProjectID]; p != nil {
		return &namedRow{p.ID, &p.Name, nil}
	}
	return nil
}

func (q resolver) Flow(args struct {
	Where *struct {
		ID       *uuidExp
		Name     *stringExp
		Archived *struct{ Eq *bool }
		Version  *intExp
		Project  *projectExp
	}
	OrderBy *[]struct{ Version, Name *string }
	Limit   *int32
},
) []flowRow {
	defer q.lock()()
	rows := []flowRow{}
	for _, f := range q.api.store.flows {
		w := args.Where
		if w == nil || (w.ID.match(f.ID) && w.Name.match(f.Name) && w.Version.match(f.Version) && w.Project.match(q.api.store.projects[f.ProjectID]) &&
			(w.Archived == nil || w.Archived.Eq == nil || !*w.Archived.Eq)) {
			rows = append(rows, flowRow{q.api.store, f})
		}
	}
	var by []ordering[flowRow]
	for _, o := range deref(args.OrderBy) {
		by = append(
			by,
			ordering[flowRow]{o.Version, func(a, b flowRow) int { return cmp.Compare(a.f.Version, b.f.Version) }, nil},
			ordering[flowRow]{o.Name, func(a, b flowRow) int { return cmp.Compare(a.f.Name, b.f.Name) }, nil},
		)
	}
	sortBy(rows, by)
	return page(rows, args.Limit, nil)
}

func (q resolver) FlowByPk(args struct{ ID UUID }) *flowRow {
	defer q.lock()()
	if f := q.api.store.flows[args.ID]; f != nil {
		return &flowRow{q.api.store, f}
	}
	return nil
}

// runRow is a flow run as it was when the query looked: a copy, because fields
// are resolved after the lock is given back.
type runRow struct {
	s     *store
	r     flowRun
	tasks []taskRunRow
}

func (s *store) runRow(r *flowRun) runRow {
	row := runRow{s: s, r: *r}
	for _, t := range r.taskRuns {
		row.tasks = append(row.tasks, taskRunRow{s.tasks[t.TaskID], *t})
	}
	return row
}

func (r runRow) ID() UUID                  { return r.r.ID }
func (r runRow) Name() *string             { return &r.r.Name }
func (r runRow) FlowID() *UUID             { return &r.r.FlowID }
func (r runRow) TenantID() *UUID           { return &r.s.tenant.ID }
func (r runRow) AgentID() *UUID            { return optionalID(r.r.AgentID) }
func (r runRow) Version() int32            { return int32(r.r.Version) }
func (r runRow) Labels() *JSON             { return &JSON{anyList(r.r.Labels)} }
func (r runRow) Parameters() *JSON         { return optionalJSON(r.r.Parameters) }
func (r runRow) Context() *JSON            { return optionalJSON(r.r.Context) }
func (r runRow) RunConfig() *JSON          { return optionalJSON(r.r.RunConfig) }
func (r runRow) State() *string            { return &r.r.State.Type }
func (r runRow) StateMessage() *string     { return &r.r.State.Message }
func (r runRow) StateStartTime() *Time     { return optionalTime(r.r.State.StartTime) }
func (r runRow) StateTimestamp() *Time     { return optionalTime(r.r.StateAt) }
func (r runRow) SerializedState() *JSON    { return &JSON{r.r.State.fields} }
func (r runRow) ScheduledStartTime() *Time { return optionalTime(r.r.Scheduled) }
func (r runRow) StartTime() *Time          { return optionalTime(r.r.Start) }
func (r runRow) EndTime() *Time            { return optionalTime(r.r.End) }
func (r runRow) Heartbeat() *Time          { return optionalTime(r.r.Heartbeat) }
func (r runRow) TimesResurrected() *int32  { return ptr(int32(r.r.Resurrected)) }
func (r runRow) Created() *Time            { return optionalTime(r.r.Created) }
func (r runRow) Updated() *Time            { return optionalTime(r.r.Updated) }
func (r runRow) Flow() *flowRow {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if f := r.s.flows[r.r.FlowID]; f != nil {
		return &flowRow{r.s, f}
	}
	return nil
}

type taskRunArgs struct {
	Where   *taskRunExp
	OrderBy *[]struct{ ID, StateStartTime, MapIndex *string }
	Limit   *int32
}

func (a taskRunArgs) pick(rows []taskRunRow) []taskRunRow {
	kept := []taskRunRow{}
	for _, t := range rows {
		if a.Where.match(&t.t) {
			kept = append(kept, t)
		}
	}
	var by []ordering[taskRunRow]
	for _, o := range deref(a.OrderBy) {
		by = append(
			by,
			ordering[taskRunRow]{o.ID, func(a, b taskRunRow) int { return cmp.Compare(a.t.ID, b.t.ID) }, nil},
			ordering[taskRunRow]{
				o.StateStartTime, func(a, b taskRunRow) int { return a.t.State.StartTime.Compare(b.t.State.StartTime) },
				func(r taskRunRow) bool { return r.t.State.StartTime.IsZero() },
			},
			ordering[taskRunRow]{o.MapIndex, func(a, b taskRunRow) int { return cmp.Compare(a.t.MapIndex, b.t.MapIndex) }, nil},
		)
	}
	sortBy(kept, by)
	return page(kept, a.Limit, nil)
}

func (r runRow) TaskRuns(args taskRunArgs) []taskRunRow { return args.pick(r.tasks) }

type taskRunRow struct {
	of *task
	t  taskRun
}

func (r taskRunRow) ID() UUID               { return r.t.ID }
func (r taskRunRow) FlowRunID() *UUID       { return &r.t.FlowRunID }
func (r taskRunRow) TaskID() *UUID          { return &r.t.TaskID }
func (r taskRunRow) MapIndex() *int32       { return ptr(int32(r.t.MapIndex)) }
func (r taskRunRow) Version() int32         { return int32(r.t.Version) }
func (r taskRunRow) State() *string         { return &r.t.State.Type }
func (r taskRunRow) StateStartTime() *Time  { return optionalTime(r.t.State.StartTime) }
func (r taskRunRow) SerializedState() *JSON { return &JSON{r.t.State.fields} }
func (r taskRunRow) Task() *namedRow {
	if r.of == nil {
		return nil
	}
	return &namedRow{r.of.ID, &r.of.Name, &r.of.Slug}
}

func (q resolver) TaskRun(args taskRunArgs) []taskRunRow {
	defer q.lock()()
	var rows []taskRunRow
	for _, t := range q.api.store.taskRuns {
		rows = append(rows, taskRunRow{q.api.store.tasks[t.TaskID], *t})
	}
	return args.pick(rows)
}

func (q resolver) TaskRunByPk(args struct{ ID UUID }) *taskRunRow {
	defer q.lock()()
	if t := q.api.store.taskRuns[args.ID]; t != nil {
		return &taskRunRow{q.api.store.tasks[t.TaskID], *t}
	}
	return nil
}

type runOrder struct{ ID, Name, StateStartTime, StateTimestamp, ScheduledStartTime, Created *string }

func (o runOrder) orderings() []ordering[*flowRun] {
	byTime := func(direction *string, at func(*flowRun) time.Time) ordering[*flowRun] {
		return ordering[*flowRun]{
			direction, func(a, b *flowRun) int { return at(a).Compare(at(b)) },
			func(r *flowRun) bool { return at(r).IsZero() },
		}
	}
	return []ordering[*flowRun]{
		{o.ID, func(a, b *flowRun) int { return cmp.Compare(a.ID, b.ID) }, nil},
		{o.Name, func(a, b *flowRun) int { return cmp.Compare(a.Name, b.Name) }, nil},
		byTime(o.StateStartTime, func(r *flowRun) time.Time { return r.State.StartTime }),
		byTime(o.StateTimestamp, func(r *flowRun) time.Time { return r.StateAt }),
		byTime(o.ScheduledStartTime, func(r *flowRun) time.Time { return r.Scheduled }),
		byTime(o.Created, func(r *flowRun) time.Time { return r.Created }),
	}
}

func (q resolver) matching(where *flowRunExp) []*flowRun {
	s := q.api.store
	var rows []*flowRun
	for _, r := range s.candidates(where) {
		if where.match(r, s.tenant.ID) {
			rows = append(rows, r)
		}
	}
	return rows
}

func (q resolver) FlowRun(_ context.Context, args struct {
	Where         *flowRunExp
	OrderBy       *[]runOrder
	Limit, Offset *int32
},
) []runRow {
	defer q.lock()()
	rows := q.matching(args.Where)
	var by []ordering[*flowRun]
	for _, o := range deref(args.OrderBy) {
		by = append(by, o.orderings()...)
	}
	sortBy(rows, by)
	out := []runRow{}
	for _, r := range page(rows, args.Limit, args.Offset) {
		out = append(out, q.api.store.runRow(r))
	}
	return out
}

func (q resolver) FlowRunByPk(args struct{ ID UUID }) *runRow {
	defer q.lock()()
	if r := q.api.store.runs[args.ID]; r != nil {
		row := q.api.store.runRow(r)
		return &row
	}
	return nil
}

type aggregate struct{ Aggregate *countRow }

type countRow struct{ Count int32 }

func (q resolver) FlowRunAggregate(args struct{ Where *flowRunExp }) aggregate {
	defer q.lock()()
	return aggregate{&countRow{int32(len(q.matching(args.Where)))}}
}

func page[T any](rows []T, limit, offset *int32) []T {
	if offset != nil {
		rows = rows[min(int(*offset), len(rows)):]
	}
	if limit != nil {
		rows = rows[:min(int(*limit), len(rows))]
	}
	return rows
}

func ptr[T any](v T) *T { return &v }

func deref[T any](p *[]T) []T {
	if p == nil {
		return nil
	}
	return *p
}

func optionalID(id UUID) *UUID {
	if id == "" {
		return nil
	}
	return &id
}
