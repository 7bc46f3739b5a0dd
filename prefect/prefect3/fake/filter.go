package fake

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// pageLimit is the most that a page may have, and what it has when nobody says.
const pageLimit = 200

// page is a part of a list.
type page struct {
	Limit  *int `json:"limit"`
	Offset int  `json:"offset"`
}

// decodePage reads a body with filters, whose unknown members are refused, and a page.
func (q *ask) decodePage(into any, p *page) (int, any) {
	if status, out := q.decode(into); status != 0 {
		return status, out
	}
	if status, out := q.strict(into); status != 0 {
		return status, out
	}
	switch {
	case p.Offset < 0:
		return q.invalid(problem{
			Type: "greater_than_equal", Loc: []any{"offset"}, Msg: "Input should be greater than or equal to 0", Input: p.Offset, Context: map[string]any{"ge": 0},
		})
	case p.Limit != nil && *p.Limit < 0:
		return http.StatusUnprocessableEntity, refusal{Detail: "Invalid limit: must be greater than or equal to 0."}
	case p.Limit != nil && *p.Limit > pageLimit:
		return http.StatusUnprocessableEntity, refusal{Detail: fmt.Sprintf("Invalid limit: must be less than or equal to %d.", pageLimit)}
	}
	return 0, nil
}

// strict refuses unknown members of filters. Those of the body itself are ignored, as on
// the server.
func (q *ask) strict(into any) (int, any) {
	var members map[string]json.RawMessage
	if json.Unmarshal(q.body, &members) != nil {
		return 0, nil
	}
	t := reflect.TypeOf(into).Elem()
	for f := range t.Fields() {
		name := f.Tag.Get("json")
		raw, is := members[name]
		of := f.Type
		if of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		if !is || of.Kind() != reflect.Struct {
			continue
		}
		if member := unknown(raw, reflect.New(of).Interface()); member != "" {
			return q.invalid(extra(name, member))
		}
	}
	return 0, nil
}

// unknown is the first member that a value has no place for.
func unknown(raw []byte, into any) string {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		return ""
	}
	m := regexp.MustCompile(`unknown field "(.*)"`).FindStringSubmatch(err.Error())
	if m == nil {
		return ""
	}
	return m[1]
}

// paged is the part of a list that was asked for.
func paged[T any](rows []T, p page) []T {
	most := pageLimit
	if p.Limit != nil {
		most = *p.Limit
	}
	from := min(p.Offset, len(rows))
	return rows[from:min(from+most, len(rows))]
}

// anyOf selects by a list of values.
type anyOf struct {
	Any  *[]string `json:"any_"`
	Not  *[]string `json:"not_any_"`
	Like *string   `json:"like_"`
	Null *bool     `json:"is_null_"`
}

func (f *anyOf) takes(value string) bool {
	switch {
	case f == nil:
		return true
	case f.Any != nil && !slices.Contains(*f.Any, value),
		f.Not != nil && slices.Contains(*f.Not, value),
		f.Like != nil && !strings.Contains(strings.ToLower(value), strings.ToLower(*f.Like)),
		f.Null != nil && *f.Null != (value == ""):
		return false
	}
	return true
}

// poolFilter selects pools, and what is in them.
type poolFilter struct {
	ID   *anyOf `json:"id"`
	Name *anyOf `json:"name"`
	Type *anyOf `json:"type"`
}

func (f poolFilter) empty() bool { return f.ID == nil && f.Name == nil && f.Type == nil }

func (f poolFilter) takes(p *pool) bool {
	if p == nil {
		return f.empty()
	}
	return f.ID.takes(p.ID) && f.Name.takes(p.Name) && f.Type.takes(p.Type)
}

type queueFilter struct {
	ID   *anyOf `json:"id"`
	Name *anyOf `json:"name"`
}

func (f queueFilter) takes(q *queue) bool {
	if q == nil {
		return f.ID == nil && f.Name == nil
	}
	return f.ID.takes(q.ID) && f.Name.takes(q.Name)
}

func (q *queue) inPool() *pool {
	if q == nil {
		return nil
	}
	return q.pool
}

// between selects by a time; a row without one is never selected.
type between struct {
	Before stamp `json:"before_"`
	After  stamp `json:"after_"`
	Null   *bool `json:"is_null_"`
}

func (f *between) takes(t stamp) bool {
	switch {
	case f == nil:
		return true
	case f.Null != nil && *f.Null != t.IsZero():
		return false
	case f.Before.IsZero() && f.After.IsZero():
		return true
	}
	return !t.IsZero() && (f.Before.IsZero() || !t.After(f.Before.Time)) && (f.After.IsZero() || !t.Before(f.After.Time))
}

// runFilter selects flow runs.
type runFilter struct {
	Operator string `json:"operator"`
	ID       *anyOf `json:"id"`
	Name     *anyOf `json:"name"`
	State    *struct {
		Operator string `json:"operator"`
		Type     *anyOf `json:"type"`
		Name     *anyOf `json:"name"`
	} `json:"state"`
	Next       *between `json:"next_scheduled_start_time"`
	Expected   *between `json:"expected_start_time"`
	Start      *between `json:"start_time"`
	End        *between `json:"end_time"`
	Deployment *anyOf   `json:"deployment_id"`
	QueueName  *anyOf   `json:"work_queue_name"`
	Tags       *struct {
		All []string `json:"all_"`
	} `json:"tags"`
}

// test returns what a filter asks of a run.
func (f runFilter) test() func(*run) bool {
	var tests []func(*run) bool
	asks := func(given bool, test func(*run) bool) {
		if given {
			tests = append(tests, test)
		}
	}
	asks(f.ID != nil, func(r *run) bool { return f.ID.takes(r.ID) })
	asks(f.Name != nil, func(r *run) bool { return f.Name.takes(r.Name) })
	asks(f.State != nil, f.takesState)
	asks(f.Next != nil, func(r *run) bool { return f.Next.takes(r.Next) })
	asks(f.Expected != nil, func(r *run) bool { return f.Expected.takes(r.Expected) })
	asks(f.Start != nil, func(r *run) bool { return f.Start.takes(r.StartTime) })
	asks(f.End != nil, func(r *run) bool { return f.End.takes(r.EndTime) })
	asks(f.Deployment != nil, func(r *run) bool { return f.Deployment.takes(deref(r.DeploymentID)) })
	asks(f.QueueName != nil, func(r *run) bool { return r.queue != nil && f.QueueName.takes(r.queue.Name) })
	asks(f.Tags != nil, func(r *run) bool {
		return !slices.ContainsFunc(f.Tags.All, func(tag string) bool { return !slices.Contains(r.Tags, tag) })
	})
	return func(r *run) bool {
		if f.Operator == "or_" {
			return len(tests) == 0 || slices.ContainsFunc(tests, func(test func(*run) bool) bool { return test(r) })
		}
		return !slices.ContainsFunc(tests, func(test func(*run) bool) bool { return !test(r) })
	}
}

func (f runFilter) takesState(r *run) bool {
	kind, name := f.State.Type, f.State.Name
	if f.State.Operator == "or_" {
		return kind != nil && kind.takes(r.state.Type) || name != nil && name.takes(r.state.Name)
	}
	return kind.takes(r.state.Type) && name.takes(r.state.Name)
}
