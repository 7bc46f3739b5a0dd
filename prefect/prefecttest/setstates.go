package prefecttest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// maxState is the largest state the server takes.
const maxState = 1_000_000

type statePayload struct {
	ID                     *UUID
	State, Status, Message *string
}

type statesPayload struct{ States *[]statePayload }

// eachState applies each state on its own: one that fails fails the call, and the others
// are written all the same (prefect1-server §a).
func eachState[I any](inputs []I, apply func(I) (UUID, error)) (*statesPayload, error) {
	out := []statePayload{}
	var problem error
	for _, in := range inputs {
		id, err := apply(in)
		if err != nil {
			problem = cmp.Or(problem, err)
			continue
		}
		out = append(out, statePayload{ID: &id, Status: new("SUCCESS")})
	}
	if problem != nil {
		return nil, problem
	}
	return &statesPayload{&out}, nil
}

type flowRunStateInput struct {
	FlowRunID UUID
	Version   *int32
	State     JSON
}

// SetFlowRunStates sets the states of runs for all clients.
func (q resolver) SetFlowRunStates(ctx context.Context, args struct {
	Input struct{ States []flowRunStateInput }
},
) (*statesPayload, error) {
	defer q.lock()()
	process := q.api.store.submitted.process()
	return eachState(args.Input.States, func(in flowRunStateInput) (UUID, error) {
		return in.FlowRunID, q.setFlowRunState(ctx, in, process)
	})
}

func (q resolver) setFlowRunState(ctx context.Context, in flowRunStateInput, process map[UUID]time.Time) error {
	s := q.api.store
	st, err := s.readState(in.State)
	if err != nil {
		return err
	}
	r := s.runs[in.FlowRunID]
	if r == nil {
		return say("State update failed for flow run ID " + string(in.FlowRunID))
	}
	if err := q.checkVersion("flow run", r.ID, in.Version, r.Version); err != nil {
		return err
	}
	if st.Type == "Submitted" && !take(process, r.ID, s.now()) {
		return say("State update failed: this run has already been submitted.")
	}
	s.setState(r, st)
	if id := header(ctx, headerAgent); id != "" && st.Type == "Submitted" {
		if !uuidForm.MatchString(id) { // after the insert: the error does not undo it
			return invalidUUID(id)
		}
		if s.agents[UUID(id)] != nil {
			r.AgentID = UUID(id)
		}
	}
	return nil
}

// readState refuses a state that is too large before it reads it.
func (s *store) readState(in JSON) (state, error) {
	if text, err := json.Marshal(in.Value); err != nil || len(text) > maxState {
		return state{}, say("State payload is too large.")
	}
	return parseState(in.Value, s.clock())
}

// checkVersion is Cloud's; OSS ignores versions, and null asks for no lock.
func (q resolver) checkVersion(what string, id UUID, given *int32, stored int) error {
	if q.api.options.Locking == LockingOff || given == nil || int(*given) == stored {
		return nil
	}
	code := codeInternal
	if q.api.options.Locking == LockingByCode {
		code = "VERSION_LOCKING_ERROR"
	}
	return refused{fmt.Sprintf("State update failed for %s ID %s: provided version %d but current version is %d.", what, id, *given, stored), code}
}

type taskRunStateInput struct {
	TaskRunID UUID
	Version   *int32
	State     JSON
}

// SetTaskRunStates has no lock of its own.
func (q resolver) SetTaskRunStates(args struct {
	Input struct{ States []taskRunStateInput }
},
) (*statesPayload, error) {
	defer q.lock()()
	return eachState(args.Input.States, func(in taskRunStateInput) (UUID, error) { return in.TaskRunID, q.setTaskRunState(in) })
}

func (q resolver) setTaskRunState(in taskRunStateInput) error {
	s := q.api.store
	st, err := s.readState(in.State)
	if err != nil {
		return err
	}
	t := s.taskRuns[in.TaskRunID]
	if t == nil {
		return say("State update failed for task run ID " + string(in.TaskRunID))
	}
	if err := q.checkVersion("task run", t.ID, in.Version, t.Version); err != nil {
		return err
	}
	if r := s.runs[t.FlowRunID]; st.Type == "Running" && r.State.Type != "Running" {
		return say(fmt.Sprintf("State update failed for task run ID %s: provided a running state but associated flow run %s is not in a running state.", t.ID, r.ID))
	}
	s.setTaskState(t, st)
	return nil
}

// CancelFlowRun answers with the run's new state; a finished run keeps its own.
func (q resolver) CancelFlowRun(args runInput) (*statePayload, error) {
	defer q.lock()()
	r := q.api.store.runs[args.Input.FlowRunID]
	if r == nil {
		return nil, say("Flow run not found.")
	}
	q.api.store.cancel(r)
	return &statePayload{ID: new(r.ID), State: new(r.State.Type)}, nil
}

// cancel ends a run that no pod has begun; it asks a running run to stop, and tells
// nothing to its Job (prefect1-server §j).
func (s *store) cancel(r *flowRun) {
	switch {
	case IsFinished(r.State.Type) || r.State.Type == "Cancelling":
	case r.State.Type == "Running":
		s.setState(r, plainState("Cancelling", "Flow run is cancelling", time.Time{}))
	default:
		s.setState(r, plainState("Cancelled", "Flow run is cancelled", time.Time{}))
	}
}
