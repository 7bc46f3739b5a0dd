package prefecttest

import (
	"cmp"
	"slices"
	"time"
)

// taskRunRow is a task run as it was at the query.
type taskRunRow struct {
	t      taskRun
	tenant UUID
	run    *runRow // only for a direct query of task runs
}

func (s *store) taskRunRow(t *taskRun) taskRunRow {
	row := taskRunRow{t: *t}
	if r := s.runs[t.FlowRunID]; r != nil {
		row.run, row.tenant = new(s.runRow(r)), r.TenantID
	}
	return row
}

func (r taskRunRow) ID() UUID                            { return r.t.ID }
func (r taskRunRow) FlowRunID() *UUID                    { return &r.t.FlowRunID }
func (r taskRunRow) TaskID() *UUID                       { return &r.t.task.ID }
func (r taskRunRow) TenantID() *UUID                     { return optionalID(r.tenant) }
func (r taskRunRow) MapIndex() *int32                    { return new(int32(r.t.MapIndex)) }
func (r taskRunRow) Version() int32                      { return int32(r.t.Version) }
func (r taskRunRow) State() *string                      { return &r.t.State.Type }
func (r taskRunRow) StateMessage() *string               { return r.t.State.Message }
func (r taskRunRow) StateStartTime() *Time               { return optionalTime(r.t.State.StartTime) }
func (r taskRunRow) StateTimestamp() *Time               { return optionalTime(r.t.StateAt) }
func (r taskRunRow) StartTime() *Time                    { return optionalTime(r.t.Start) }
func (r taskRunRow) EndTime() *Time                      { return optionalTime(r.t.End) }
func (r taskRunRow) SerializedState(args pathArgs) *JSON { return within(r.t.State.fields, args.Path) }
func (r taskRunRow) FlowRun() *runRow                    { return r.run }

type taskRow struct {
	ID         UUID
	Name, Slug *string
}

func (r taskRunRow) Task() *taskRow { return &taskRow{r.t.task.ID, &r.t.task.Name, &r.t.task.Slug} }

type taskRunArgs struct {
	Where         *taskRunExp
	OrderBy       *[]struct{ ID, StateStartTime, StateTimestamp, MapIndex *string }
	Limit, Offset *int32
}

func (a taskRunArgs) pick(rows []taskRunRow) []taskRunRow {
	kept := slices.DeleteFunc(rows, func(r taskRunRow) bool { return !a.Where.match(&r.t) })
	if kept == nil {
		kept = []taskRunRow{}
	}
	var by []ordering[taskRunRow]
	for _, o := range deref(a.OrderBy) {
		by = append(
			by, byKey(o.ID, func(a, b taskRunRow) int { return cmp.Compare(a.t.ID, b.t.ID) }),
			byTime(o.StateStartTime, func(r taskRunRow) time.Time { return r.t.State.StartTime }),
			byTime(o.StateTimestamp, func(r taskRunRow) time.Time { return r.t.StateAt }),
			byKey(o.MapIndex, func(a, b taskRunRow) int { return cmp.Compare(a.t.MapIndex, b.t.MapIndex) }),
		)
	}
	sortBy(kept, by)
	return page(kept, a.Limit, a.Offset)
}

func (q resolver) TaskRun(args taskRunArgs) []taskRunRow {
	defer q.lock()()
	var rows []taskRunRow
	for _, t := range inOrder(q.api.store.taskRuns, func(t *taskRun) int { return t.made }) {
		if args.Where.match(t) {
			rows = append(rows, q.api.store.taskRunRow(t))
		}
	}
	return args.pick(rows)
}

func (q resolver) TaskRunByPk(args pk) *taskRunRow {
	defer q.lock()()
	if t := q.api.store.taskRuns[args.ID]; t != nil {
		return new(q.api.store.taskRunRow(t))
	}
	return nil
}

type taskRunInfo struct {
	ID              *UUID
	Version         *int32
	SerializedState *JSON
}

func newTaskRunInfo(t *taskRun) *taskRunInfo {
	return &taskRunInfo{new(t.ID), new(int32(t.Version)), &JSON{t.State.fields}}
}

// GetTaskRunInfo answers a pod whose state was refused for its version.
func (q resolver) GetTaskRunInfo(args struct{ TaskRunID UUID }) *taskRunInfo {
	defer q.lock()()
	if t := q.api.store.taskRuns[args.TaskRunID]; t != nil {
		return newTaskRunInfo(t)
	}
	return nil
}

// GetOrCreateTaskRunInfo gives a pod its task runs; it makes those of a mapped task, with
// an index from 0.
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
		return nil, say("Foreign key violation.")
	}
	i := slices.IndexFunc(r.taskRuns, func(tr *taskRun) bool { return tr.task.ID == t.ID && tr.MapIndex == index })
	if i < 0 {
		i = len(r.taskRuns)
		s.createTaskRun(r, t, index)
	}
	return newTaskRunInfo(r.taskRuns[i]), nil
}
