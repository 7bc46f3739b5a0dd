package prefecttest

import (
	"slices"
	"time"
)

// Comparison expressions as Hasura has them. A nil expression matches anything;
// an empty one does too.

type uuidExp struct {
	Eq, Neq *UUID
	In, Nin *[]UUID
	IsNull  *bool
}

func (e *uuidExp) match(v UUID) bool {
	return e == nil || ((e.Eq == nil || *e.Eq == v) && (e.Neq == nil || *e.Neq != v) &&
		(e.In == nil || slices.Contains(*e.In, v)) && (e.Nin == nil || !slices.Contains(*e.Nin, v)) &&
		(e.IsNull == nil || *e.IsNull == (v == "")))
}

type stringExp struct {
	Eq, Neq *string
	In, Nin *[]string
	IsNull  *bool
}

func (e *stringExp) match(v string) bool {
	return e == nil || ((e.Eq == nil || *e.Eq == v) && (e.Neq == nil || *e.Neq != v) &&
		(e.In == nil || slices.Contains(*e.In, v)) && (e.Nin == nil || !slices.Contains(*e.Nin, v)) &&
		(e.IsNull == nil || *e.IsNull == (v == "")))
}

type intExp struct {
	Eq, Neq, Lt, Lte, Gt, Gte *int32
	In                        *[]int32
}

func (e *intExp) match(v int) bool {
	n := int32(v)
	return e == nil || ((e.Eq == nil || *e.Eq == n) && (e.Neq == nil || *e.Neq != n) && (e.In == nil || slices.Contains(*e.In, n)) &&
		(e.Lt == nil || n < *e.Lt) && (e.Lte == nil || n <= *e.Lte) && (e.Gt == nil || n > *e.Gt) && (e.Gte == nil || n >= *e.Gte))
}

type timeExp struct {
	Eq, Lt, Lte, Gt, Gte *Time
	IsNull               *bool
}

// match compares as SQL does: null compares with nothing.
func (e *timeExp) match(v time.Time) bool {
	if e == nil {
		return true
	}
	if e.IsNull != nil && *e.IsNull != v.IsZero() {
		return false
	}
	compares := e.Eq != nil || e.Lt != nil || e.Lte != nil || e.Gt != nil || e.Gte != nil
	if v.IsZero() {
		return !compares
	}
	return (e.Eq == nil || v.Equal(e.Eq.Time)) && (e.Lt == nil || v.Before(e.Lt.Time)) && (e.Lte == nil || !v.After(e.Lte.Time)) &&
		(e.Gt == nil || v.After(e.Gt.Time)) && (e.Gte == nil || !v.Before(e.Gte.Time))
}

type jsonExp struct {
	Eq, Neq, Contains, ContainedIn *JSON
	HasKey                         *string
	IsNull                         *bool
}

func (e *jsonExp) match(v any) bool {
	if e == nil {
		return true
	}
	if e.HasKey != nil {
		m, _ := v.(map[string]any)
		if _, ok := m[*e.HasKey]; !ok {
			return false
		}
	}
	return (e.Eq == nil || equal(v, e.Eq.Value)) && (e.Neq == nil || !equal(v, e.Neq.Value)) &&
		(e.Contains == nil || contains(v, e.Contains.Value)) && (e.ContainedIn == nil || contains(e.ContainedIn.Value, v)) &&
		(e.IsNull == nil || *e.IsNull == (v == nil))
}

type flowRunExp struct {
	And, Or            *[]flowRunExp
	Not                *flowRunExp
	ID                 *uuidExp
	FlowID             *uuidExp
	TenantID           *uuidExp
	Name               *stringExp
	Labels             *jsonExp
	State              *stringExp
	StateStartTime     *timeExp
	StateTimestamp     *timeExp
	ScheduledStartTime *timeExp
	Heartbeat          *timeExp
	SerializedState    *jsonExp
	Version            *intExp
	TaskRuns           *taskRunExp
}

func (e *flowRunExp) match(r *flowRun, tenant UUID) bool {
	if e == nil {
		return true
	}
	if !(e.ID.match(r.ID) && e.FlowID.match(r.FlowID) && e.TenantID.match(tenant) && e.Name.match(r.Name) &&
		e.State.match(r.State.Type) && e.StateStartTime.match(r.State.StartTime) && e.StateTimestamp.match(r.StateAt) &&
		e.ScheduledStartTime.match(r.Scheduled) && e.Heartbeat.match(r.Heartbeat) && e.Version.match(r.Version) &&
		e.SerializedState.match(any(r.State.fields)) && e.Labels.match(anyList(r.Labels))) {
		return false
	}
	if e.TaskRuns != nil && !slices.ContainsFunc(r.taskRuns, e.TaskRuns.match) {
		return false
	}
	if e.Not != nil && e.Not.match(r, tenant) {
		return false
	}
	matches := func(inner flowRunExp) bool { return inner.match(r, tenant) }
	return (e.Or == nil || slices.ContainsFunc(*e.Or, matches)) &&
		(e.And == nil || !slices.ContainsFunc(*e.And, func(inner flowRunExp) bool { return !matches(inner) }))
}

type taskRunExp struct {
	And, Or        *[]taskRunExp
	ID             *uuidExp
	FlowRunID      *uuidExp
	TaskID         *uuidExp
	MapIndex       *intExp
	State          *stringExp
	StateStartTime *timeExp
}

func (e *taskRunExp) match(t *taskRun) bool {
	if e == nil {
		return true
	}
	matches := func(inner taskRunExp) bool { return inner.match(t) }
	return e.ID.match(t.ID) && e.FlowRunID.match(t.FlowRunID) && e.TaskID.match(t.TaskID) && e.MapIndex.match(t.MapIndex) &&
		e.State.match(t.State.Type) && e.StateStartTime.match(t.State.StartTime) &&
		(e.Or == nil || slices.ContainsFunc(*e.Or, matches)) &&
		(e.And == nil || !slices.ContainsFunc(*e.And, func(inner taskRunExp) bool { return !matches(inner) }))
}

// candidates narrows a query by id or state, so that finished runs cost nothing.
func (s *store) candidates(e *flowRunExp) []*flowRun {
	var out []*flowRun
	byID := func(ids ...UUID) {
		for _, id := range ids {
			if r := s.runs[id]; r != nil {
				out = append(out, r)
			}
		}
	}
	byState := func(states ...string) {
		for _, st := range states {
			for _, r := range s.byState[st] {
				out = append(out, r)
			}
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
		for _, r := range s.runs {
			out = append(out, r)
		}
	}
	return out
}

func anyList(labels []string) any {
	list := make([]any, len(labels))
	for i, l := range labels {
		list[i] = l
	}
	return list
}

// ordering is one "column: direction" of an order_by.
type ordering[T any] struct {
	direction *string
	compare   func(a, b T) int
	null      func(T) bool
}

// sortBy orders rows; like PostgreSQL, nulls come last when ascending and first
// when descending, unless the direction says so.
func sortBy[T any](rows []T, by []ordering[T]) {
	slices.SortStableFunc(rows, func(a, b T) int {
		for _, o := range by {
			if o.direction == nil {
				continue
			}
			d := *o.direction
			descending := d[0] == 'd'
			if o.null != nil && o.null(a) != o.null(b) {
				nullsFirst := d == "desc" || d == "asc_nulls_first" || d == "desc_nulls_first"
				if o.null(a) == nullsFirst {
					return -1
				}
				return 1
			}
			if c := o.compare(a, b); c != 0 {
				if descending {
					return -c
				}
				return c
			}
		}
		return 0
	})
}
