package fake

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// event is something that the server tells of.
type event struct {
	ID       string              `json:"id"`
	Occurred stamp               `json:"occurred"`
	Received stamp               `json:"received"`
	Event    string              `json:"event"`
	Resource map[string]string   `json:"resource"`
	Related  []map[string]string `json:"related"`
	Payload  any                 `json:"payload"`
	Follows  *string             `json:"follows"`
}

// keptEvents is how many events can be had again.
const keptEvents = 5000

// tellRun tells of a run's new state.
func (s *store) tellRun(r *run, before *state) {
	after := r.state
	brief := func(st *state) any {
		if st == nil {
			return nil
		}
		out := map[string]any{"type": st.Type, "name": st.Name}
		if st.Message != nil {
			out["message"] = *st.Message
		}
		return out
	}
	was, follows := any(nil), (*string)(nil)
	if before != nil {
		was, follows = before.Type, &before.ID
	}
	e := &event{
		ID: after.ID, Occurred: after.Timestamp, Follows: follows, Event: "prefect.flow-run." + after.Name,
		Resource: map[string]string{
			"prefect.resource.id": "prefect.flow-run." + r.ID, "prefect.resource.name": r.Name, "prefect.run-count": strconv.Itoa(r.Count),
			"prefect.state-message": deref(after.Message), "prefect.state-name": after.Name, "prefect.state-type": after.Type,
			"prefect.state-timestamp": after.Timestamp.Format("2006-01-02T15:04:05.000000+00:00"),
		},
		Related: []map[string]string{related("flow", r.FlowID, s.flowName(r))},
		Payload: map[string]any{
			"intended": map[string]any{"from": was, "to": after.Type}, "initial_state": brief(before), "validated_state": brief(after),
		},
	}
	if d := r.deployment; d != nil {
		e.Related = append(e.Related, related("deployment", d.ID, d.Name))
	}
	if q := r.queue; q != nil {
		e.Related = append(e.Related, related("work-queue", q.ID, q.Name), q.pool.related())
	}
	s.tell(e)
}

func related(role, id, name string) map[string]string {
	return map[string]string{
		"prefect.resource.id": "prefect." + role + "." + id, "prefect.resource.role": role, "prefect.resource.name": name,
	}
}

func (p *pool) related() map[string]string {
	out := related("work-pool", p.ID, p.Name)
	out["prefect.work-pool.type"] = p.Type
	return out
}

// tellQueue tells of a queue's new status.
func (s *store) tellQueue(q *queue) {
	s.tell(&event{
		ID: newID(), Occurred: stamp{s.clock()}, Event: "prefect.work-queue." + word(q.Status), Resource: related("work-queue", q.ID, q.Name),
		Related: []map[string]string{q.pool.related()}, Payload: map[string]any{},
	})
}

// tellPool tells what happened to a pool.
func (s *store) tellPool(p *pool, what string) {
	s.tell(&event{
		ID: newID(), Occurred: stamp{s.clock()}, Event: "prefect.work-pool." + what, Related: []map[string]string{}, Payload: map[string]any{},
		Resource: map[string]string{
			"prefect.resource.id": "prefect.work-pool." + p.ID, "prefect.resource.name": p.Name, "prefect.work-pool.type": p.Type,
		},
	})
}

func (s *store) tell(e *event) {
	e.Received = e.Occurred
	s.events = append(s.events, e)
	if extra := len(s.events) - keptEvents; extra > 0 {
		s.events = slices.Delete(s.events, 0, extra)
	}
	for st := range s.streams {
		if st.filter.takesLive(e) {
			st.push(e)
		}
	}
}

// takeEvents keeps what clients tell.
func (a *API) takeEvents(q *ask) (int, any) {
	var in []*event
	if status, out := q.decode(&in); status != 0 {
		return status, out
	}
	for _, e := range in {
		a.store.tell(e)
	}
	return http.StatusNoContent, nil
}

// eventFilter says which events a stream wants (prefect3 §6.2).
type eventFilter struct {
	Occurred struct {
		Since stamp `json:"since"`
		Until stamp `json:"until"`
	} `json:"occurred"`
	Event struct {
		Name   []string `json:"name"`
		Prefix []string `json:"prefix"`
	} `json:"event"`
	Any     resourceFilter  `json:"any_resource"`
	Related json.RawMessage `json:"related"` // counts for nothing on the live stream

	opened time.Time
}

type resourceFilter struct {
	ID     []string                   `json:"id"`
	Labels map[string]json.RawMessage `json:"labels"`
}

// takesLive leaves out what occurs after the filter's end, which is its beginning when
// nobody says.
func (f *eventFilter) takesLive(e *event) bool {
	until := f.Occurred.Until.Time
	if until.IsZero() {
		until = f.opened
	}
	return !e.Occurred.After(until) && f.takes(e)
}

func (f *eventFilter) takes(e *event) bool {
	switch {
	case !f.Occurred.Since.IsZero() && e.Occurred.Before(f.Occurred.Since.Time):
		return false
	case len(f.Event.Name) > 0 && !slices.Contains(f.Event.Name, e.Event):
		return false
	}
	if len(f.Any.ID) == 0 && len(f.Any.Labels) == 0 {
		return true
	}
	return slices.ContainsFunc(append([]map[string]string{e.Resource}, e.Related...), f.Any.takes)
}

func (f resourceFilter) takes(resource map[string]string) bool {
	if len(f.ID) > 0 && !slices.Contains(f.ID, resource["prefect.resource.id"]) {
		return false
	}
	for name, raw := range f.Labels {
		var values []string
		if json.Unmarshal(raw, &values) != nil {
			var one string
			if json.Unmarshal(raw, &one) != nil {
				return false
			}
			values = []string{one}
		}
		if !slices.Contains(values, resource[name]) {
			return false
		}
	}
	return true
}
