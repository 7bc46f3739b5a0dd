package prefect1

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

const (
	// maxTasks of one run are claimed or handed back in one request: more would take
	// the server longer than a claim may be old.
	maxTasks = 100
	// maxStates bytes of states, and at most one state more, go in one request: the
	// server takes 5 MB a request and 1 MB a state.
	maxStates = 3_500_000
)

// tooLargeToClaim tells an author what to change.
const tooLargeToClaim = "This flow run cannot be claimed: the Prefect API takes states of up to 1 MB, and its own state with the claim around it is larger. Make the state's message, context and cached inputs smaller, or create a new flow run."

// stateBody is a state as the API takes it (prefect1 §2.1).
type stateBody struct {
	Type         string          `json:"type"`
	Message      string          `json:"message"`
	StartTime    string          `json:"start_time,omitempty"`
	Context      any             `json:"context"`
	CachedInputs struct{}        `json:"cached_inputs"`
	Result       noResult        `json:"_result"`
	State        json.RawMessage `json:"state,omitempty"`
	Version      string          `json:"__version__"`
}

type noResult struct {
	Type    string `json:"type"`
	Version string `json:"__version__"`
}

func newState(name, message string) stateBody {
	return stateBody{
		Type: name, Message: message, Context: struct{}{}, Version: coreVersion,
		Result: noResult{Type: "NoResultType", Version: coreVersion},
	}
}

// submittedState makes the state that a claim writes. It wraps the state before, because
// the pod looks there for the work to continue (prefect1 §2.3).
func submittedState(message string, from prefect.State, claim prefect.Claim) (json.RawMessage, error) {
	s := newState(stateSubmitted, message)
	s.Context = noteOf(claim)
	s.State = innermost(from.Opaque)
	return exchange.Encode(s)
}

// Claim tries once to make the run ours. It sets a run of the Scheduled family Submitted;
// of a Running run, it sets the first task runs whose retry is due, as many as one
// request takes. The Answer tells the outcome; an error means that the API refused the
// request itself (key, tenant, a fault of ours) and would refuse it again.
func (c *Client) Claim(ctx context.Context, run prefect.FlowRun, claim prefect.Claim) (result prefect.ClaimResult, err error) {
	defer exchange.Explain(&err, "claim flow run %s", run.ID)
	switch {
	case run.State.Phase.IsWaiting():
		err = c.claimRun(ctx, run, claim)
	case run.State.Phase == prefect.Running && len(dueTasks(run)) > 0:
		err = c.claimTasks(ctx, dueTasks(run), claim)
	default:
		err = fmt.Errorf("its state %s cannot be claimed", run.State.Name)
	}
	if requestTooLarge.is(err) {
		err = &prefect.AuthorError{Message: tooLargeToClaim, Err: err}
	}
	return answerOf(err)
}

func (c *Client) claimRun(ctx context.Context, run prefect.FlowRun, claim prefect.Claim) error {
	state, err := submittedState("Submitted for execution", run.State, claim)
	if err != nil {
		return err
	}
	return c.setFlowRunState(ctx, run.ID, expected(run), state)
}

func (c *Client) claimTasks(ctx context.Context, tasks []recipe.Task, claim prefect.Claim) error {
	states, err := taskStates(tasks, func(t recipe.Task) (taskRunState, error) {
		state, err := submittedState("Submitted for execution.", t.State, claim)
		return taskRunState{Task_run_id: t.ID, Version: &t.Version, State: state}, err
	})
	if err != nil {
		return err
	}
	return c.setTaskRunStates(ctx, states)
}

// expected is the version at which we read the run, for the server to compare.
func expected(run prefect.FlowRun) *int {
	version, _ := strconv.Atoi(run.Revision)
	return &version
}

func dueTasks(run prefect.FlowRun) []recipe.Task {
	made, _ := recipe.Of(run)
	return made.DueTasks
}

// taskStates makes states for the first tasks, as many as one request takes.
func taskStates(tasks []recipe.Task, state func(recipe.Task) (taskRunState, error)) ([]taskRunState, error) {
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

// notSetError: the API answered, but did not set the state.
type notSetError struct{ status, message string }

func (e *notSetError) Error() string {
	return exchange.Shorten(fmt.Sprintf("the API answered %s %s", e.status, e.message))
}

// answerOf turns the outcome of a claim into an Answer (prefect1-server §a–§c). A claim
// is Lost or NotNow only if it certainly was not applied; in doubt the run has to be read
// back.
func answerOf(err error) (prefect.ClaimResult, error) {
	if err == nil {
		return prefect.ClaimResult{Answer: prefect.Won}, nil
	}
	if queued, ok := errors.AsType[*notSetError](err); ok {
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

// Pending does nothing: a Submitted state has no words for its pod.
func (c *Client) Pending(context.Context, prefect.FlowRun, string) error { return nil }

// Launched does nothing: Prefect 1.x keeps nothing of a run's Job but its claim.
func (c *Client) Launched(context.Context, prefect.FlowRun, prefect.Claim) error { return nil }

// Fail sets the run Failed, the only state that Prefect 1.x has for failures, with a
// message for its author, whatever its version (prefect1 §2.3).
func (c *Client) Fail(ctx context.Context, run prefect.FlowRun, f prefect.Failure) (err error) {
	defer exchange.Explain(&err, "fail flow run %s", run.ID)
	return c.end(ctx, run, stateFailed, f.Message)
}

// Cancelled sets the run Cancelled with a message for its author.
func (c *Client) Cancelled(ctx context.Context, run prefect.FlowRun, message string) (err error) {
	defer exchange.Explain(&err, "set flow run %s Cancelled", run.ID)
	return c.end(ctx, run, stateCancelled, message)
}

func (c *Client) end(ctx context.Context, run prefect.FlowRun, state, message string) error {
	body, err := exchange.Encode(newState(state, storable(message)))
	if err != nil {
		return err
	}
	return c.setFlowRunState(ctx, run.ID, nil, body)
}

// HandBack puts a claimed run back in the queue, due at the given time; of a Running run
// it puts back the claimed tasks, which run must hold as they were before the claim. The
// new state counts how often the run's pods never began.
func (c *Client) HandBack(ctx context.Context, run prefect.FlowRun, at time.Time, message string) (err error) {
	defer exchange.Explain(&err, "hand back flow run %s", run.ID)
	switch {
	case run.State.Phase.IsFinished():
		return fmt.Errorf("its state %s is final", run.State.Name)
	case run.State.Phase.IsRunning():
		return c.handBackTasks(ctx, run, at, message)
	}
	err = c.handBackRun(ctx, run, at, message)
	if requestTooLarge.is(err) {
		err = c.handBackRun(ctx, run, at, "")
	}
	return err
}

func (c *Client) handBackRun(ctx context.Context, run prefect.FlowRun, at time.Time, message string) error {
	state, err := rescheduled(run.State, at, message, run.HandedBack)
	if err != nil {
		return err
	}
	return c.setFlowRunState(ctx, run.ID, nil, state)
}

func (c *Client) handBackTasks(ctx context.Context, run prefect.FlowRun, at time.Time, message string) error {
	all := dueTasks(run)
	if len(all) == 0 {
		return fmt.Errorf("it is %s and no claimed task of it is known", run.State.Name)
	}
	for tasks := all; len(tasks) > 0; {
		states, err := taskStates(tasks, func(t recipe.Task) (taskRunState, error) {
			state, err := rescheduled(t.State, at, message, 0)
			return taskRunState{Task_run_id: t.ID, State: state}, err
		})
		if err != nil {
			return err
		}
		if err := c.setTaskRunStates(ctx, states); err != nil {
			return fmt.Errorf("%d of %d tasks are not: %w", len(tasks), len(all), err)
		}
		tasks = tasks[len(states):]
	}
	return nil
}

// rescheduled is the state before the claim, due at another time. It keeps all that the
// state carries (a retry's count, cached inputs). Paused, Queued and Resume become
// Scheduled, so that the run waits for nobody. It notes returned unless that is zero.
func rescheduled(from prefect.State, at time.Time, message string, returned int) (json.RawMessage, error) {
	before := object(innermost(from.Opaque))
	state := newState(stateScheduled, storable(message))
	state.StartTime = formatTime(at)
	if returned > 0 {
		state.Context = map[string]int{returnedKey: returned}
	}
	fresh, err := exchange.Encode(state)
	if err != nil || !slices.Contains(scheduledStates(), text(before["type"])) {
		return fresh, err
	}
	kept := object(fresh)
	for key, value := range before {
		switch key {
		case "message", "start_time", "state", "__version__":
		case "type":
			if text(value) == stateRetrying {
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
	return exchange.Encode(kept)
}

// contextAfter is a state's context without our claim, and with how often the run was
// returned unless that is zero.
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
	return exchange.Encode(m)
}

func (c *Client) setFlowRunState(ctx context.Context, id string, version *int, state json.RawMessage) error {
	// One state a request: states of one request are applied one by one, and an
	// error for one hides that the others were applied (prefect1-server §a).
	out, err := setFlowRunStates(ctx, c.wire, setFlowRunStatesInput{
		States: []flowRunState{{Flow_run_id: id, Version: version, State: state}},
	})
	if err != nil {
		return err
	}
	return allSet(out.Set_flow_run_states.States, 1)
}

func (c *Client) setTaskRunStates(ctx context.Context, states []taskRunState) error {
	out, err := setTaskRunStates(ctx, c.wire, setTaskRunStatesInput{States: states})
	if err != nil {
		return err
	}
	return allSet(out.Set_task_run_states.States, len(states))
}

// allSet checks that each state was set. Cloud may answer QUEUED with a reason
// instead, when a concurrency limit is reached.
func allSet(states []setStatePayload, want int) error {
	for _, s := range states {
		if s.Status != "SUCCESS" {
			return &notSetError{s.Status, s.Message}
		}
	}
	if len(states) < want {
		return &Error{Operation: "set states", kind: malformed, detail: fmt.Sprintf("%d states sent, %d answered", want, len(states))}
	}
	return nil
}
