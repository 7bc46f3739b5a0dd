package fake

import (
	"slices"
	"strings"
)

// The answers to a proposal.
const (
	accept = "ACCEPT"
	reject = "REJECT"
	abort  = "ABORT"
	wait   = "WAIT"
)

// verdict is a rule's say about a proposal. With a state, the run gets that one instead.
type verdict struct {
	status  string
	reason  string
	instead *proposal
	delay   int
}

// transition is a proposal on its way through the rules.
type transition struct {
	s         *store
	run       *run
	from      *state
	to        *state
	client    version
	isPrefect bool
}

// outcome is the answer to a proposal.
type outcome struct {
	State   *state         `json:"state"`
	Status  string         `json:"status"`
	Details map[string]any `json:"details"`
}

// propose puts a proposal before the rules.
func (s *store) propose(r *run, p proposal, force bool, agent string) outcome {
	client, isPrefect := clientVersion(agent)
	t := &transition{s: s, run: r, from: r.state, to: p.state(s, r.ID), client: client, isPrefect: isPrefect}
	t.carry(!p.Details.ScheduledTime.IsZero(), force)
	for _, of := range rules() {
		if !of.concerns(t, force) {
			continue
		}
		if v := of.say(t); v != nil {
			return s.decide(t, *v)
		}
	}
	s.enter(r, t.to)
	s.tellRun(r, t.from)
	return outcome{State: t.to, Status: accept, Details: map[string]any{"type": "accept_details"}}
}

// carry takes over what outlives a state: the time from Scheduled to Pending and between
// Pending ones, and the lease for ever.
func (t *transition) carry(own, force bool) {
	if t.to.Type == pending && (t.from.Type == scheduled || t.from.Type == pending) && !own && !force {
		t.to.Details.ScheduledTime = t.from.Details.ScheduledTime
	}
	if t.to.Details.Lease == nil && (!force || t.s.version.since("3.9.0")) {
		t.to.Details.Lease = t.from.Details.Lease
	}
}

func (s *store) decide(t *transition, v verdict) outcome {
	current := t.from
	if v.instead != nil {
		current = v.instead.state(s, t.run.ID)
		s.enter(t.run, current)
		s.tellRun(t.run, t.from)
	}
	about := map[string]any{"type": strings.ToLower(v.status) + "_details", "reason": v.reason}
	if v.status == wait {
		about["delay_seconds"] = v.delay
	}
	return outcome{State: current, Status: v.status, Details: about}
}

// enter gives a run a state, with all that follows from it.
func (s *store) enter(r *run, to *state) {
	now := to.Timestamp
	if from := r.state; from != nil {
		delete(s.byState[from.Type], r.ID)
		if slices.Contains(slotStates(), from.Type) && !slices.Contains(slotStates(), to.Type) {
			s.release(r)
		}
		if from.Type == running {
			r.Total += now.Sub(from.Timestamp.Time).Seconds()
		}
	}
	r.Next, r.EndTime = stamp{}, stamp{}
	switch {
	case to.Type == scheduled:
		r.Next = to.Details.ScheduledTime
	case to.Type == running:
		r.Count++
		r.Policy.RetryType = nil
		if r.StartTime.IsZero() {
			r.StartTime = now
		}
	case to.Type == paused:
		if key := to.Details.PauseKey; key != nil {
			r.Policy.PauseKeys = append(slices.Clone(r.Policy.PauseKeys), *key)
		}
	case IsFinished(to.Type) && (!r.StartTime.IsZero() || s.version.since(withPrefect3)):
		r.EndTime = now
		if r.StartTime.IsZero() {
			r.StartTime = now
		}
	}
	if r.Expected.IsZero() {
		if r.Expected = now; to.Type == scheduled {
			r.Expected = r.Next
		}
	}
	r.state = to
	r.history = append(r.history, to)
	r.touch(s)
	if s.byState[to.Type] == nil {
		s.byState[to.Type] = map[string]*run{}
	}
	s.byState[to.Type][r.ID] = r
}
