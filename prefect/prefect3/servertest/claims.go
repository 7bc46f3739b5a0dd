package servertest

import (
	"net/http"
	"sync"
	"time"
)

// claimCase is a row of the table of claims: what a server says to a claim of a run, and
// which state the run has then.
type claimCase struct {
	name   string
	since  string
	before string // the first version that does otherwise
	// prepare makes a run and brings it into its state.
	prepare func(*suite) string
	// more is what the claim has besides.
	more []string
	want answer
}

const (
	mine   = "0ca11ab1-0000-4000-8000-000000000001"
	theirs = "0ca11ab1-0000-4000-8000-000000000002"
	// made is the reason of an answer to a claim that the server has heard before.
	made = "This run has already made this state transition."
)

// into returns a preparation that proposes these states to a new run. What begins with
// "force" is forced.
func into(kinds ...string) func(*suite) string {
	return func(s *suite) string {
		id := s.now()
		for _, kind := range kinds {
			s.propose(id, kind, "force", "")
		}
		return id
	}
}

// claimedBy returns a preparation with a claim of that transition.
func claimedBy(transition string) func(*suite) string {
	return func(s *suite) string {
		id := s.now()
		s.propose(id, "PENDING", "name", "Pending", "message", "first", ".transition_id", transition)
		return id
	}
}

func claimCases() []claimCase {
	cannot := func(from string) string {
		return "This run is in a " + from + " state and cannot transition to a PENDING state."
	}
	accepted := answer{Status: "ACCEPT", Type: "PENDING", Name: "Pending", Message: "note", Transition: mine, Scheduled: true}
	revived := accepted
	revived.Scheduled = false
	return []claimCase{
		{name: "due", prepare: into(), want: accepted},
		{name: "future", prepare: func(s *suite) string { return s.schedule(s.deployment, time.Now().Add(time.Hour)) }, want: accepted},
		{name: "handed back", prepare: into("PENDING", "SCHEDULED"), want: accepted},
		{name: "waits to try again", prepare: func(s *suite) string {
			id := s.now()
			s.propose(id, "SCHEDULED", "name", "AwaitingRetry", ".scheduled_time", time.Now().Add(time.Hour).Format(time.RFC3339))
			return id
		}, want: accepted},
		{name: "own time", prepare: into(), more: []string{".scheduled_time", "2026-01-01T00:00:00Z"}, want: accepted},
		{
			name: "claimed by the same", prepare: claimedBy(mine),
			want: answer{Status: "REJECT", Reason: made, Type: "PENDING", Name: "Pending", Message: "first", Transition: mine, Scheduled: true},
		},
		{
			name: "claimed by another", prepare: claimedBy(theirs),
			want: answer{Status: "ABORT", Reason: cannot("PENDING"), Type: "PENDING", Name: "Pending", Message: "first", Transition: theirs, Scheduled: true},
		},
		{name: "running", prepare: into("RUNNING"), want: answer{Status: "ABORT", Reason: cannot("RUNNING"), Type: "RUNNING", Name: "Running"}},
		{
			name: "claimed by the same and running", prepare: func(s *suite) string {
				id := claimedBy(mine)(s)
				s.propose(id, "RUNNING")
				return id
			},
			want: answer{Status: "ABORT", Reason: cannot("RUNNING"), Type: "RUNNING", Name: "Running"},
		},
		{
			name: "cancelled", since: "3.0.0", prepare: into("CANCELLED"),
			want: answer{Status: "ABORT", Reason: cannot("CANCELLED"), Type: "CANCELLED", Name: "Cancelled"},
		},
		{
			name: "cancelled, Prefect 2", before: "3.0.0", prepare: into("CANCELLED"),
			want: answer{Status: "REJECT", Reason: cancellingOnly, Type: "CANCELLED", Name: "Cancelled"},
		},
		{name: "cancelling", prepare: into("PENDING", "CANCELLING"), want: answer{Status: "REJECT", Reason: cancellingOnly, Type: "CANCELLING", Name: "Cancelling"}},
		{name: "failed", prepare: into("RUNNING", "FAILED"), want: revived},
		{name: "crashed", prepare: into("RUNNING", "CRASHED"), want: revived},
		{name: "completed without a result", prepare: into("RUNNING", "COMPLETED"), want: revived},
		{name: "completed with a result", prepare: func(s *suite) string {
			id := into("RUNNING")(s)
			s.ok(http.MethodPost, "/flow_runs/"+id+"/set_state", object{"state": object{"type": "COMPLETED", "data": object{"type": "result"}}})
			return id
		}, want: answer{Status: "REJECT", Reason: "Run is already COMPLETED.", Type: "COMPLETED", Name: "Completed"}},
		{name: "paused", prepare: into("RUNNING", "PAUSED"), want: answer{
			Status: "REJECT", Type: "PAUSED", Name: "Paused",
			Reason: "This run cannot transition to the StateType.PENDING state from the StateType.PAUSED state.",
		}},
		{name: "resumed", prepare: func(s *suite) string {
			id := into("RUNNING")(s)
			s.propose(id, "PAUSED", "name", "Suspended")
			if got := s.answered(s.ok(http.MethodPost, "/flow_runs/"+id+"/resume", object{})); got.Name != "Resuming" {
				s.Error("resume:", got)
			}
			return id
		}, want: accepted},
		{name: "in-process retry", prepare: func(s *suite) string {
			v := s.ok(http.MethodPost, "/deployments/"+s.deployment+"/create_flow_run", object{
				"state": object{"type": "SCHEDULED"}, "empirical_policy": object{"retries": 1, "retry_delay": 60},
			})
			id := s.text("id", v)
			s.propose(id, "RUNNING")
			if got := s.propose(id, "FAILED", "message", "again"); got.Status != "REJECT" || got.Name != "AwaitingRetry" || got.Reason != "Retrying" || got.Message != "again" {
				s.Error("the failure:", got)
			}
			if kind := s.run(id)["empirical_policy"].(object)["retry_type"]; kind != "in_process" {
				s.Error("retry_type:", kind)
			}
			return id
		}, want: accepted},
		{
			name: "another name of the state", since: "3.6.22", prepare: claimedBy(theirs), more: []string{"name", "InfrastructurePending", ".transition_id", ""},
			want: answer{Status: "ACCEPT", Type: "PENDING", Name: "InfrastructurePending", Message: "note", Scheduled: true},
		},
		{
			name: "another name of the state, early versions", before: "3.6.22", prepare: claimedBy(theirs), more: []string{"name", "InfrastructurePending", ".transition_id", ""},
			want: answer{Status: "ABORT", Reason: cannot("PENDING"), Type: "PENDING", Name: "Pending", Message: "first", Transition: theirs, Scheduled: true},
		},
		{name: "same name of the state", prepare: func(s *suite) string {
			id := s.now()
			s.propose(id, "PENDING", "name", "Submitting")
			return id
		}, more: []string{"name", "Submitting"}, want: answer{Status: "ABORT", Reason: cannot("PENDING"), Type: "PENDING", Name: "Submitting", Scheduled: true}},
		{name: "back to the first name", prepare: func(s *suite) string {
			id := s.now()
			s.propose(id, "PENDING", "name", "Submitting")
			return id
		}, want: answer{Status: "ABORT", Reason: cannot("PENDING"), Type: "PENDING", Name: "Submitting", Scheduled: true}},
	}
}

const cancellingOnly = "Cannot transition flows that are cancelling to a state other than Cancelled."

func claims(s *suite) {
	for _, c := range claimCases() {
		if c.since != "" && !s.since(c.since) || c.before != "" && s.since(c.before) {
			continue
		}
		id := c.prepare(s)
		got := s.propose(id, "PENDING", append([]string{"name", "Pending", "message", "note", ".transition_id", mine}, c.more...)...)
		if got != c.want {
			s.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
		if state := s.state(id); state["type"] != c.want.Type || state["name"] != c.want.Name {
			s.Errorf("%s: the run is %v %q then", c.name, state["type"], state["name"])
		}
	}
	s.noSuchRun()
	s.undone()
	s.tooEarly()
}

func (s *suite) noSuchRun() {
	body := object{"state": object{"type": "PENDING", "state_details": object{"transition_id": uuid()}}}
	id := uuid()
	if status, v := s.call(http.MethodPost, "/flow_runs/"+id+"/set_state", body); status != http.StatusNotFound || v.(object)["exception_message"] != "Flow run with id "+id+" not found" {
		s.Error("no such run:", status, v)
	}
	body["state"].(object)["state_details"] = object{"transition_id": "not-a-uuid"}
	if status, _ := s.call(http.MethodPost, "/flow_runs/"+s.now()+"/set_state", body); status != http.StatusUnprocessableEntity {
		s.Error("a transition that is no UUID:", status)
	}
}

// undone restores a run that a late claim revived.
func (s *suite) undone() {
	id := into("RUNNING")(s)
	s.propose(id, "FAILED", "message", "boom")
	s.claim(id)
	if got, want := s.propose(id, "FAILED", "message", "boom", "force", ""), (answer{Status: "ACCEPT", Type: "FAILED", Name: "Failed", Message: "boom"}); got != want {
		s.Errorf("restored: %+v", got)
	}
	if run := s.run(id); run["run_count"] != 1.0 || run["end_time"] == nil {
		s.Error("restored:", run["run_count"], run["end_time"])
	}
	var kinds []any
	for _, st := range s.ok(http.MethodGet, "/flow_run_states/?flow_run_id="+id, nil).([]any) {
		kinds = append(kinds, st.(object)["type"])
	}
	if len(kinds) != 5 || kinds[0] != "SCHEDULED" || kinds[2] != "FAILED" || kinds[3] != "PENDING" || kinds[4] != "FAILED" {
		s.Error("its states:", kinds)
	}
}

// tooEarly makes a pod wait that begins before its run is due.
func (s *suite) tooEarly() {
	id := s.schedule(s.deployment, s.clock().Add(100*time.Second))
	s.claim(id)
	got := s.proposeAs(pod, id, "RUNNING")
	if got.Status != "WAIT" || got.Type != "PENDING" || got.Reason != "Scheduled time is in the future" || got.Delay < 60 || got.Delay > 100 {
		s.Errorf("a pod before its time: %+v", got)
	}
}

// races has several claim the same run at once.
func races(s *suite) {
	const rivals = 4
	for range 3 {
		id := s.now()
		var same, other [rivals]answer
		var wg sync.WaitGroup
		for i := range rivals {
			wg.Go(func() { other[i] = s.claim(id) })
		}
		wg.Wait()
		transition, won := "", 0
		for _, a := range other {
			switch {
			case a.Status == "ACCEPT":
				won++
				transition = a.Transition
			case a.Status != "ABORT":
				s.Errorf("a loser: %+v", a)
			}
		}
		if won != 1 {
			s.Errorf("%d of %d claims won", won, rivals)
		}
		for i := range rivals {
			wg.Go(func() { same[i] = s.propose(id, "PENDING", "name", "Pending", ".transition_id", transition) })
		}
		wg.Wait()
		for _, a := range same {
			if a.Status != "REJECT" || a.Transition != transition {
				s.Errorf("the winner asks again: %+v", a)
			}
		}
	}
}
