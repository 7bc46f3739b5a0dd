package fake

import (
	"slices"
	"strings"
)

// The types of states.
const (
	scheduled  = "SCHEDULED"
	pending    = "PENDING"
	running    = "RUNNING"
	completed  = "COMPLETED"
	failed     = "FAILED"
	cancelled  = "CANCELLED"
	crashed    = "CRASHED"
	paused     = "PAUSED"
	cancelling = "CANCELLING"
)

// Types of states, in the server's order.
func Types() []string {
	return []string{scheduled, pending, running, completed, failed, cancelled, crashed, paused, cancelling}
}

func terminal() []string { return []string{completed, failed, cancelled, crashed} }

// IsFinished reports whether a state of that type is terminal.
func IsFinished(kind string) bool { return slices.Contains(terminal(), kind) }

// state is a flow run's state, which never changes once it is set.
type state struct {
	ID        string  `json:"id"`
	Type      string  `json:"type"`
	Name      string  `json:"name"`
	Timestamp stamp   `json:"timestamp"`
	Message   *string `json:"message"`
	Data      any     `json:"data"`
	Details   details `json:"state_details"`
}

type details struct {
	FlowRunID      *string `json:"flow_run_id"`
	TaskRunID      *string `json:"task_run_id"`
	ChildRunID     *string `json:"child_flow_run_id"`
	ScheduledTime  stamp   `json:"scheduled_time"`
	CacheKey       *string `json:"cache_key"`
	CacheExpires   stamp   `json:"cache_expiration"`
	Deferred       *bool   `json:"deferred"`
	Untrackable    bool    `json:"untrackable_result"`
	PauseTimeout   stamp   `json:"pause_timeout"`
	PauseReschedul bool    `json:"pause_reschedule"`
	PauseKey       *string `json:"pause_key"`
	RunInputs      any     `json:"run_input_keyset"`
	RefreshCache   *bool   `json:"refresh_cache"`
	Retriable      *bool   `json:"retriable"`
	TransitionID   *string `json:"transition_id"`
	TaskParameters *string `json:"task_parameters_id"`
	Traceparent    *string `json:"traceparent"`
	Lease          *string `json:"deployment_concurrency_lease_id"`
}

// proposal is a state as a client sends it.
type proposal struct {
	Type    string  `json:"type"`
	Name    string  `json:"name"`
	Message *string `json:"message"`
	Data    any     `json:"data"`
	Details details `json:"state_details"`
}

// state is a new state as proposed for a run.
func (p proposal) state(s *store, runID string) *state {
	st := &state{ID: s.newID7(), Type: p.Type, Name: p.Name, Timestamp: stamp{s.clock()}, Message: p.Message, Data: p.Data, Details: p.Details}
	st.Details.FlowRunID = &runID
	if st.Details.Deferred == nil {
		st.Details.Deferred = new(bool)
	}
	if st.Name == "" {
		st.Name = titled(st.Type)
	}
	if st.Type == scheduled && st.Details.ScheduledTime.IsZero() {
		st.Details.ScheduledTime = st.Timestamp
	}
	return st
}

// titled is a type as people write it.
func titled(kind string) string { return kind[:1] + strings.ToLower(kind[1:]) }

func deref(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}
