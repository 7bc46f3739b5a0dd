package prefect1

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// maxTasks of one run are claimed or handed back in one request: more would take
	// the server longer than a claim may be old.
	maxTasks = 100
	// maxStates bytes of states, and at most one state more, go in one request: the
	// server takes 5 MB, of which a state may be 1 MB.
	maxStates = 3_500_000
)

// tooLargeToClaim tells an author what to change.
const tooLargeToClaim = "This flow run cannot be claimed: the Prefect API takes states of up to 1 MB, and its own state with the claim around it is larger. Make the state's message, context and cached inputs smaller, or create a new flow run."

// stateBody is a state as the API takes it (prefect1-spec §2.1).
type stateBody struct {
	Type         prefect.StateType `json:"type"`
	Message      string            `json:"message"`
	StartTime    string            `json:"start_time,omitempty"`
	Context      any               `json:"context"`
	CachedInputs struct{}          `json:"cached_inputs"`
	Result       noResult          `json:"_result"`
	State        json.RawMessage   `json:"state,omitempty"`
	Version      string            `json:"__version__"`
}

type noResult struct {
	Type    string `json:"type"`
	Version string `json:"__version__"`
}

func newState(t prefect.StateType, message string) stateBody {
	return stateBody{
		Type: t, Message: message, Context: struct{}{}, Version: coreVersion,
		Result: noResult{Type: "NoResultType", Version: coreVersion},
	}
}

// submittedState is what a claim writes: the state the run or task was in goes
// with it, because the pod looks there for what it continues (prefect1-spec §2.3).
func submittedState(message string, from prefect.State, claim prefect.Claim) (json.RawMessage, error) {
	s := newState(prefect.Submitted, message)
	s.Context = noteOf(claim)
	s.State = innermost(from.Opaque)
	return encode(s)
}

// Claim tries once to make the run ours. A run in the Scheduled family is set
// Submitted; of a Running run the task runs whose retry is due are, the first of
// them, as many as one request takes. What came of it is an Answer; an error says that the request was refused as such (key,
// tenant, a fault of ours) and that trying on is no use.
func (c *Client) Claim(ctx context.Context, run prefect.FlowRun, claim prefect.Claim) (prefect.ClaimResult, error) {
	var err error
	switch {
	case run.State.Type.IsScheduled():
		err = c.claimRun(ctx, run, claim)
	case run.State.Type == prefect.Running && len(run.DueTasks) > 0:
		err = c.claimTasks(ctx, run.DueTasks, claim)
	default:
		err = fmt.Errorf("its state %s cannot be claimed", run.State.Type)
	}
	result, err := answerOf(err)
	if requestTooLarge.is(err) {
		err = &prefect.AuthorError{Message: tooLargeToClaim, Err: err}
	}
	if err != nil {
		return result, fmt.Errorf("claim flow run %s: %w", run.ID, err)
	}
	return result, nil
}

func (c *Client) claimRun(ctx context.Context, run prefect.FlowRun, claim prefect.Claim) error {
	state, err := submittedState("Submitted for execution", run.State, claim)
	if err != nil {
		return err
	}
	return c.setFlowRunState(ctx, run.ID, &run.Version, state)
}

func (c *Client) claimTasks(ctx context.Context, tasks []prefect.TaskRun, claim prefect.Claim) error {
	states, err := taskStates(tasks, func(t prefect.TaskRun) (taskRunState, error) {
		state, err := submittedState("Submitted for execution.", t.State, claim)
		return taskRunState{Task_run_id: t.ID, Version: &t.Version, State: state}, err
	})
	if err != nil {
		return err
	}
	return c.setTaskRunStates(ctx, states)
}

// taskStates are states for the first of the tasks, as many as one request takes.
func taskStates(tasks []prefect.TaskRun, state func(prefect.TaskRun) (taskRunState, error)) ([]taskRunState, error) {
	var states []taskRunState
	size := 0
	for _, t := range tasks[:min(len(tasks), maxTasks)] {
		s, err := state(t)
		if err != nil {
			return nil, err
		}
		states = append(states, s)
		if size += len(s.State); size >= maxStates {
			break
		}
	}
	return states, nil
}

// notTakenError: the API answered, but did not set the state it was asked to set.
type notTakenError struct{ status, message string }

func (e *notTakenError) Error() string {
	return shorten(fmt.Sprintf("the API answered %s %s", e.status, e.message))
}

// answerOf turns the outcome of a claim into an Answer (prefect1-server-facts
// a–c). Only what certainly was not applied is Lost or NotNow; in doubt the run
// has to be read back.
func answerOf(err error) (prefect.ClaimResult, error) {
	if err == nil {
		return prefect.ClaimResult{Answer: prefect.Won}, nil
	}
	if queued, ok := errors.AsType[*notTakenError](err); ok {
		return prefect.ClaimResult{Answer: prefect.NotNow, Reason: queued.Error()}, nil
	}
	var e *Error
	if !errors.As(err, &e) {
		return prefect.ClaimResult{}, err
	}
	r := prefect.ClaimResult{Answer: prefect.Unknown, Reason: e.Error(), RetryAfter: e.retryAfter}
	switch e.kind {
	case submitted, throttled, unsent:
		r.Answer = prefect.NotNow
	case locked, notFound:
		r.Answer = prefect.Lost
	case auth, rejected, requestTooLarge:
		return prefect.ClaimResult{}, err
	}
	return r, nil
}

// Fail sets the run Failed with a message for its author, whatever its version
// (prefect1-spec §2.3).
func (c *Client) Fail(ctx context.Context, run prefect.FlowRun, message string) error {
	state, err := encode(newState(prefect.Failed, storable(message)))
	if err == nil {
		err = c.setFlowRunState(ctx, run.ID, nil, state)
	}
	if err != nil {
		return fmt.Errorf("fail flow run %s: %w", run.ID, err)
	}
	return nil
}

// Cancel sets the run Cancelled with a message for its author.
func (c *Client) Cancel(ctx context.Context, run prefect.FlowRun, message string) error {
	state, err := encode(newState(prefect.Cancelled, storable(message)))
	if err == nil {
		err = c.setFlowRunState(ctx, run.ID, nil, state)
	}
	if err != nil {
		return fmt.Errorf("set flow run %s Cancelled: %w", run.ID, err)
	}
	return nil
}

// HandBack puts a claimed run back in the queue, due at the given time: the run
// itself, or of a Running run the tasks that were claimed, which run must hold
// as they were before the claim. How often its pods never began goes with it.
func (c *Client) HandBack(ctx context.Context, run prefect.FlowRun, at time.Time, message string) error {
	var err error
	switch {
	case run.State.Type.IsFinished():
		err = fmt.Errorf("its state %s is final", run.State.Type)
	case run.State.Type.IsRunning():
		err = c.handBackTasks(ctx, run, at, message)
	default:
		err = c.handBackRun(ctx, run, at, message)
		if requestTooLarge.is(err) {
			err = c.handBackRun(ctx, run, at, "")
		}
	}
	if err != nil {
		return fmt.Errorf("hand back flow run %s: %w", run.ID, err)
	}
	return nil
}

func (c *Client) handBackRun(ctx context.Context, run prefect.FlowRun, at time.Time, message string) error {
	state, err := rescheduled(run.State, at, message, run.Returned)
	if err != nil {
		return err
	}
	return c.setFlowRunState(ctx, run.ID, nil, state)
}

func (c *Client) handBackTasks(ctx context.Context, run prefect.FlowRun, at time.Time, message string) error {
	if len(run.DueTasks) == 0 {
		return fmt.Errorf("it is %s and no claimed task of it is known", run.State.Type)
	}
	for tasks := run.DueTasks; len(tasks) > 0; {
		states, err := taskStates(tasks, func(t prefect.TaskRun) (taskRunState, error) {
			state, err := rescheduled(t.State, at, message, 0)
			return taskRunState{Task_run_id: t.ID, State: state}, err
		})
		if err != nil {
			return err
		}
		if err := c.setTaskRunStates(ctx, states); err != nil {
			return fmt.Errorf("%d of %d tasks are not: %w", len(tasks), len(run.DueTasks), err)
		}
		tasks = tasks[len(states):]
	}
	return nil
}

// rescheduled is the state a run was claimed from, due at another time. What it
// carries (a retry's count, cached inputs) comes back with it. Paused, Queued
// and Resume come back as Scheduled, so that the run waits for nobody. returned is
// noted unless it is zero.
func rescheduled(from prefect.State, at time.Time, message string, returned int) (json.RawMessage, error) {
	before := object(innermost(from.Opaque))
	state := newState(prefect.Scheduled, storable(message))
	state.StartTime = formatTime(at)
	if returned > 0 {
		state.Context = map[string]int{returnedKey: returned}
	}
	fresh, err := encode(state)
	if err != nil || !prefect.StateType(text(before["type"])).IsScheduled() {
		return fresh, err
	}
	kept := object(fresh)
	for key, value := range before {
		switch key {
		case "message", "start_time", "state", "__version__":
		case "type":
			if text(value) == string(prefect.Retrying) {
				kept[key] = value
			}
		case "context":
			if kept[key], err = contextAfter(value, returned); err != nil {
				return nil, err
			}
		default:
			kept[key] = value
		}
	}
	return encode(kept)
}

// contextAfter is a state's context less what a claim of ours left in it, with how
// often the run was returned unless that is zero.
func contextAfter(context json.RawMessage, returned int) (json.RawMessage, error) {
	m := object(context)
	if _, found := m[claimKey]; !found && returned == 0 {
		return context, nil
	}
	if m == nil {
		m = map[string]json.RawMessage{}
	}
	delete(m, claimKey)
	if returned > 0 {
		m[returnedKey] = json.RawMessage(strconv.Itoa(returned))
	}
	return encode(m)
}

func (c *Client) setFlowRunState(ctx context.Context, id string, version *int, state json.RawMessage) error {
	// One state a request: states of one request are applied one by one, and an
	// error for one hides that the others were applied (prefect1-server-facts a).
	out, err := setFlowRunStates(ctx, c.wire, setFlowRunStatesInput{
		States: []flowRunState{{Flow_run_id: id, Version: version, State: state}},
	})
	if err != nil {
		return err
	}
	return taken(out.Set_flow_run_states.States, 1)
}

func (c *Client) setTaskRunStates(ctx context.Context, states []taskRunState) error {
	out, err := setTaskRunStates(ctx, c.wire, setTaskRunStatesInput{States: states})
	if err != nil {
		return err
	}
	return taken(out.Set_task_run_states.States, len(states))
}

// taken checks that each state was set. Cloud may answer QUEUED with a reason
// instead, when a concurrency limit is reached.
func taken(states []setStatePayload, want int) error {
	for _, s := range states {
		if s.Status != "SUCCESS" {
			return &notTakenError{s.Status, s.Message}
		}
	}
	if len(states) < want {
		return &Error{Operation: "set states", kind: malformed, detail: fmt.Sprintf("%d states sent, %d answered", want, len(states))}
	}
	return nil
}
