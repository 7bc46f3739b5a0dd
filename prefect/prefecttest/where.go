package prefecttest

import (
	"cmp"
	"slices"
	"time"
)

// comparison is one column's expression in Hasura. A nil or empty expression matches
// anything. The schema says which operators a column has.
type comparison[T any] struct {
	Eq, Neq, Lt, Lte, Gt, Gte *T
	In, Nin                   *[]T
	IsNull                    *bool
}

type (
	uuidExp   = comparison[UUID]
	stringExp = comparison[string]
	intExp    = comparison[int32]
	timeExp   = comparison[Time]
)

func matchUUID(e *uuidExp, v UUID) bool       { return matches(e, v, v == "", cmp.Compare) }
func matchString(e *stringExp, v string) bool { return matches(e, v, v == "", cmp.Compare) }
func matchInt(e *intExp, v int) bool          { return matches(e, int32(v), false, cmp.Compare) }
func matchTime(e *timeExp, v time.Time) bool {
	return matches(e, Time{v}, v.IsZero(), func(a, b Time) int { return a.Compare(b.Time) })
}

// matches compares as SQL does: null compares with nothing, not even as unequal.
func matches[T any](e *comparison[T], v T, null bool, compare func(a, b T) int) bool {
	if e == nil {
		return true
	}
	if e.IsNull != nil && *e.IsNull != null {
		return false
	}
	if null {
		return e.Eq == nil && e.Neq == nil && e.Lt == nil && e.Lte == nil && e.Gt == nil && e.Gte == nil && e.In == nil && e.Nin == nil
	}
	is := func(other T) bool { return compare(v, other) == 0 }
	return (e.Eq == nil || is(*e.Eq)) && (e.Neq == nil || !is(*e.Neq)) &&
		(e.Lt == nil || compare(v, *e.Lt) < 0) && (e.Lte == nil || compare(v, *e.Lte) <= 0) &&
		(e.Gt == nil || compare(v, *e.Gt) > 0) && (e.Gte == nil || compare(v, *e.Gte) >= 0) &&
		(e.In == nil || slices.ContainsFunc(*e.In, is)) && (e.Nin == nil || !slices.ContainsFunc(*e.Nin, is))
}

type boolExp struct{ Eq, Neq *bool }

func (e *boolExp) match(v bool) bool {
	return e == nil || ((e.Eq == nil || *e.Eq == v) && (e.Neq == nil || *e.Neq != v))
}

type jsonExp struct {
	Eq, Neq, Contains, ContainedIn *JSON
	HasKey                         *string
	IsNull                         *bool
}

// match follows PostgreSQL's idea of a key: an object's name or an array's string.
func (e *jsonExp) match(v any) bool {
	if e == nil {
		return true
	}
	if e.HasKey != nil && !hasKey(v, *e.HasKey) {
		return false
	}
	return (e.Eq == nil || equal(v, e.Eq.Value)) && (e.Neq == nil || !equal(v, e.Neq.Value)) &&
		(e.Contains == nil || contains(v, e.Contains.Value)) && (e.ContainedIn == nil || contains(e.ContainedIn.Value, v)) &&
		(e.IsNull == nil || *e.IsNull == (v == nil))
}

func hasKey(v any, key string) bool {
	switch v := v.(type) {
	case map[string]any:
		_, present := v[key]
		return present
	case []any:
		return slices.Contains(v, any(key))
	}
	return false
}

// contains is PostgreSQL's @> on jsonb.
func contains(whole, part any) bool {
	switch p := part.(type) {
	case map[string]any:
		w, ok := whole.(map[string]any)
		if !ok {
			return false
		}
		for k, v := range p {
			inner, present := w[k]
			if !present || !contains(inner, v) {
				return false
			}
		}
		return true
	case []any:
		w, ok := whole.([]any)
		if !ok {
			return false
		}
		for _, v := range p {
			if !slices.ContainsFunc(w, func(candidate any) bool { return contains(candidate, v) }) {
				return false
			}
		}
		return true
	}
	return equal(whole, part)
}

// equal compares values that encoding/json has decoded.
func equal(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && len(x) == len(y) && contains(x, y) && contains(y, x)
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, equal)
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}

type flowRunExp struct {
	And, Or                                                                                             *[]flowRunExp
	Not                                                                                                 *flowRunExp
	ID, FlowID, TenantID, AgentID                                                                       *uuidExp
	Name, State, IdempotencyKey                                                                         *stringExp
	Labels, SerializedState, Parameters, RunConfig                                                      *jsonExp
	StateStartTime, StateTimestamp, ScheduledStartTime, StartTime, EndTime, Heartbeat, Created, Updated *timeExp
	Version, TimesResurrected                                                                           *intExp
	TaskRuns                                                                                            *taskRunExp
	Flow                                                                                                *flowExp
}

func (e *flowRunExp) match(s *store, r *flowRun) bool {
	if e == nil {
		return true
	}
	if !(matchUUID(e.ID, r.ID) && matchString(e.State, r.State.Type) && matchTime(e.StateStartTime, r.State.StartTime) &&
		matchUUID(e.FlowID, r.FlowID) && matchUUID(e.TenantID, r.TenantID) && matchUUID(e.AgentID, r.AgentID) &&
		matchString(e.Name, r.Name) && matchString(e.IdempotencyKey, r.IdempotencyKey) &&
		matchTime(e.StateTimestamp, r.StateAt) && matchTime(e.ScheduledStartTime, r.Scheduled) && matchTime(e.StartTime, r.Start) &&
		matchTime(e.EndTime, r.End) && matchTime(e.Heartbeat, r.Heartbeat) && matchTime(e.Created, r.Created) && matchTime(e.Updated, r.Updated) &&
		matchInt(e.Version, r.Version) && matchInt(e.TimesResurrected, r.Resurrected) && e.Labels.match(r.labels) &&
		e.Parameters.match(r.Parameters) && e.RunConfig.match(r.RunConfig)) {
		return false
	}
	if e.SerializedState != nil && !e.SerializedState.match(r.State.fields) {
		return false
	}
	if e.TaskRuns != nil && !slices.ContainsFunc(r.taskRuns, e.TaskRuns.match) {
		return false
	}
	if e.Flow != nil && !e.Flow.match(s, s.flows[r.FlowID]) {
		return false
	}
	return combine(e.And, e.Or, e.Not, func(inner *flowRunExp) bool { return inner.match(s, r) })
}

// combine evaluates _and, _or and _not. An empty _or matches nothing.
func combine[E any](and, or *[]E, not *E, match func(*E) bool) bool {
	if and != nil {
		for i := range *and {
			if !match(&(*and)[i]) {
				return false
			}
		}
	}
	if or != nil && !slices.ContainsFunc(*or, func(e E) bool { return match(&e) }) {
		return false
	}
	return not == nil || !match(not)
}

type taskRunExp struct {
	And, Or                        *[]taskRunExp
	Not                            *taskRunExp
	ID, FlowRunID, TaskID          *uuidExp
	MapIndex, Version              *intExp
	State                          *stringExp
	StateStartTime, StateTimestamp *timeExp
	SerializedState                *jsonExp
	Task                           *taskExp
}

type taskExp struct{ Name, Slug *stringExp }

func (e *taskRunExp) match(t *taskRun) bool {
	return e == nil || (matchUUID(e.ID, t.ID) && matchUUID(e.FlowRunID, t.FlowRunID) && matchUUID(e.TaskID, t.task.ID) &&
		matchInt(e.MapIndex, t.MapIndex) && matchInt(e.Version, t.Version) && matchString(e.State, t.State.Type) &&
		matchTime(e.StateStartTime, t.State.StartTime) && matchTime(e.StateTimestamp, t.StateAt) &&
		(e.SerializedState == nil || e.SerializedState.match(t.State.fields)) &&
		(e.Task == nil || (matchString(e.Task.Name, t.task.Name) && matchString(e.Task.Slug, t.task.Slug))) &&
		combine(e.And, e.Or, e.Not, func(inner *taskRunExp) bool { return inner.match(t) }))
}

type flowExp struct {
	And, Or              *[]flowExp
	Not                  *flowExp
	ID, FlowGroupID      *uuidExp
	Name, VersionGroupID *stringExp
	Archived             *boolExp
	Version              *intExp
	Project              *projectExp
}

func (e *flowExp) match(s *store, f *flow) bool {
	return e == nil || (f != nil && matchUUID(e.ID, f.ID) && matchUUID(e.FlowGroupID, f.GroupID) && matchString(e.Name, f.Name) &&
		matchString(e.VersionGroupID, f.VersionGroup) && e.Archived.match(false) && matchInt(e.Version, f.Version) &&
		e.Project.match(s.projects[f.ProjectID]) && combine(e.And, e.Or, e.Not, func(inner *flowExp) bool { return inner.match(s, f) }))
}

type projectExp struct {
	ID, TenantID *uuidExp
	Name         *stringExp
}

func (e *projectExp) match(p *project) bool {
	return e == nil || (p != nil && matchUUID(e.ID, p.ID) && matchUUID(e.TenantID, p.TenantID) && matchString(e.Name, p.Name))
}
