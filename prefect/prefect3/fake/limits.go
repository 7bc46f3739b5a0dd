package fake

import (
	"net/http"
	"regexp"
	"time"
)

// limit is a global concurrency limit. The stand-in has those of deployments.
type limit struct {
	row
	Active bool    `json:"active"`
	Name   string  `json:"name"`
	Limit  int     `json:"limit"`
	Taken  int     `json:"active_slots"`
	Decay  float64 `json:"slot_decay_per_second"`
}

// lease is a claim's hold of a slot. Leases are in the server's memory, the count of taken
// slots is in its database (prefect3 §2.4).
type lease struct {
	limit   *limit
	expires time.Time
	// kept is a lease that a pod renews by itself.
	kept bool
}

func (s *store) limitDeployment(d *deployment, most *int) {
	switch {
	case !s.version.since(withSlots):
	case most == nil:
		if d.Limit != nil {
			delete(s.limits, d.Limit.ID)
		}
		d.Limit = nil
	case d.Limit == nil:
		d.Limit = &limit{row: s.row(), Active: true, Name: "deployment:" + d.ID, Limit: *most}
		s.limits[d.Limit.ID] = d.Limit
	default:
		d.Limit.Limit = *most
		d.Limit.touch(s)
	}
}

// full reports whether a deployment's limit has no slot to give.
func (l *limit) full() bool { return !l.Active || l.Taken >= l.Limit }

// take gives a run a slot, and returns its lease's id where servers have leases.
func (s *store) take(d *deployment) *string {
	d.Limit.Taken++
	d.Limit.touch(s)
	if !s.version.since(withLeases) {
		return nil
	}
	id := newID()
	s.leases[id] = &lease{limit: d.Limit, expires: s.clock().Add(s.grace(d))}
	return &id
}

// grace is how long a lease lasts.
func (s *store) grace(d *deployment) time.Duration {
	if d.Options != nil && d.Options.Grace != nil {
		return time.Duration(*d.Options.Grace) * time.Second
	}
	return s.options.Lease
}

// release gives a run's slot back. A run whose lease has expired gives back another's
// slot, as on the real server.
func (s *store) release(r *run) {
	if r.deployment == nil || r.deployment.Limit == nil {
		return
	}
	of := r.deployment.Limit
	if id := deref(r.state.Details.Lease); s.leases[id] != nil {
		of = s.leases[id].limit
		delete(s.leases, id)
	}
	if of.Taken > 0 {
		of.Taken--
		of.touch(s)
	}
}

// sweepLeases frees the slots of leases that expired before a moment.
func (s *store) sweepLeases(at time.Time) {
	for id, l := range s.leases {
		if !l.kept && !l.expires.After(at) {
			delete(s.leases, id)
			if l.limit.Taken > 0 {
				l.limit.Taken--
			}
		}
	}
}

const (
	shortestLease = 60
	longestLease  = 86400
)

// renew works until the server has swept the lease, even after it has expired.
func (a *API) renew(q *ask) (int, any) {
	var in struct {
		Seconds float64 `json:"lease_duration"`
	}
	in.Seconds = 300
	if status, out := q.decode(&in); status != 0 {
		return status, out
	}
	id := q.PathValue("id")
	switch {
	case !uuidForm.MatchString(id):
		status, out := q.invalid(problem{Type: "uuid_parsing", Msg: "Input should be a valid UUID", Input: id})
		return status, out
	case in.Seconds < shortestLease:
		return q.invalid(problem{
			Type: "greater_than_equal", Loc: []any{"lease_duration"}, Input: in.Seconds,
			Msg: "Input should be greater than or equal to 60", Context: map[string]any{"ge": 60.0},
		})
	case in.Seconds > longestLease:
		return q.invalid(problem{
			Type: "less_than_equal", Loc: []any{"lease_duration"}, Input: in.Seconds,
			Msg: "Input should be less than or equal to 86400", Context: map[string]any{"le": 86400.0},
		})
	}
	l := a.store.leases[id]
	if l == nil {
		return http.StatusGone, refusal{Detail: "Lease not found - it may have expired or been revoked"}
	}
	l.expires = q.at.Add(time.Duration(in.Seconds * float64(time.Second)))
	return http.StatusNoContent, nil
}

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`) //nolint:gochecknoglobals // compiled once

func (a *API) limit(q *ask) (*limit, int, any) {
	wanted := q.PathValue("limit")
	for _, l := range a.store.limits {
		if l.ID == wanted || l.Name == wanted {
			return l, 0, nil
		}
	}
	status, out := missing("Concurrency Limit not found")
	return nil, status, out
}

func (a *API) readLimit(q *ask) (int, any) {
	l, status, out := a.limit(q)
	if status != 0 {
		return status, out
	}
	return http.StatusOK, l
}

func (a *API) changeLimit(q *ask) (int, any) {
	l, status, out := a.limit(q)
	if status != 0 {
		return status, out
	}
	var in struct {
		Limit  *int  `json:"limit"`
		Active *bool `json:"active"`
	}
	if status, out = q.decode(&in); status != 0 {
		return status, out
	}
	if in.Limit != nil {
		l.Limit = *in.Limit
	}
	if in.Active != nil {
		l.Active = *in.Active
	}
	l.touch(a.store)
	return http.StatusNoContent, nil
}
