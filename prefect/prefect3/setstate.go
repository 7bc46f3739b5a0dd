package prefect3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

// maxText is the longest message or line of log that we send.
const maxText = 100_000

// proposal is a state as the API takes it.
type proposal struct {
	Type    string          `json:"type"`
	Name    string          `json:"name,omitempty"`
	Message string          `json:"message,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`
	Details map[string]any  `json:"state_details"`
}

// propose makes a proposal that may be sent twice: a server refuses the second one with
// the same transition id.
func propose(kind, name, message string) proposal {
	return proposal{Type: kind, Name: name, Message: storable(message), Details: map[string]any{"transition_id": uuid.NewString()}}
}

func (p proposal) at(due time.Time) proposal {
	p.Details["scheduled_time"] = formatTime(due)
	return p
}

// The server's words for what it did with a proposal. The HTTP status says nothing of it
// (prefect3 §1.7).
const (
	accepted = "ACCEPT"
	rejects  = "REJECT"
	aborted  = "ABORT"
)

// answered is the answer to a proposal, with the state that the run has now.
type answered struct {
	State   *state `json:"state"`
	Status  string `json:"status"`
	Details struct {
		Reason string `json:"reason"`
	} `json:"details"`
}

func (a answered) String() string {
	text := "the API answered " + a.Status
	if a.State != nil {
		text += ", the run is " + a.State.Name
	}
	if a.Details.Reason != "" {
		text += ": " + a.Details.Reason
	}
	return exchange.Shorten(text)
}

// setState proposes a state. Force skips nearly all of the server's rules.
func (c *Client) setState(ctx context.Context, op, id string, p proposal, force bool) (a answered, err error) {
	if !isUUID(id) {
		return a, prefect.ErrNotFound
	}
	if prefect.TooLateToSend(ctx) {
		return a, &Error{Operation: op, kind: unsent, detail: exchange.ErrUnsent.Error()}
	}
	body := struct {
		State proposal `json:"state"`
		Force bool     `json:"force"`
	}{p, force}
	err = c.wire.post(ctx, op, "/flow_runs/"+id+"/set_state", body, &a)
	if err == nil && a.State == nil {
		err = &Error{Operation: op, kind: malformed, detail: "the answer has no state: " + a.String()}
	}
	return a, err
}

// set proposes a state and expects to see it.
func (c *Client) set(ctx context.Context, op, id string, p proposal, force bool) error {
	a, err := c.setState(ctx, op, id, p, force)
	switch {
	case err != nil:
		return err
	case a.Status == accepted && a.State.Type == p.Type:
		return nil
	case a.State.Details.Transition != "" && a.State.Details.Transition == p.Details["transition_id"]:
		return nil // an earlier try of this request
	case a.State.Type == p.Type && phaseOf(p.Type).IsFinished():
		return nil // somebody else was faster
	}
	return errors.New(a.String())
}

// Fail sets the run Crashed, with a message for its author.
func (c *Client) Fail(ctx context.Context, run prefect.FlowRun, f prefect.Failure) (err error) {
	defer exchange.Explain(&err, "fail flow run %s", run.ID)
	return c.set(ctx, "fail", run.ID, propose(typeCrashed, "Crashed", f.Message), false)
}

// Cancelled sets the run Cancelled with a message for its author.
func (c *Client) Cancelled(ctx context.Context, run prefect.FlowRun, message string) (err error) {
	defer exchange.Explain(&err, "set flow run %s Cancelled", run.ID)
	return c.set(ctx, "cancelled", run.ID, propose(typeCancelled, "Cancelled", message), false)
}

// HandBack puts a claimed run back in the queue, due at the given time, which also frees
// its deployment's slot. The new state counts how often the run's pods never began.
func (c *Client) HandBack(ctx context.Context, run prefect.FlowRun, at time.Time, message string) (err error) {
	defer exchange.Explain(&err, "hand back flow run %s", run.ID)
	if run.State.Phase.IsFinished() {
		return fmt.Errorf("its state %s is final", run.State.Name) // the server would start it again
	}
	returned := run.HandedBack
	if run.State.Phase == prefect.Waiting { // as it was before its claim
		returned = returnedBefore(run)
	}
	p := propose(typeScheduled, nameRetry, message)
	p.Message = withReturned(p.Message, returned)
	return c.set(ctx, "hand_back", run.ID, p.at(at), false)
}

// returnedBefore is how often a Waiting run was handed back because its pods never began.
func returnedBefore(run prefect.FlowRun) int {
	var s state
	if json.Unmarshal(run.State.Opaque, &s) != nil {
		return 0
	}
	_, returned := returnedIn(s.Message)
	return returned
}

// Pending tells people why the run's pod does not start yet, in a Pending state of its own
// name. The server takes it only for another name than the present one, so a second reason
// goes by way of a third name. Older servers have no such names.
func (c *Client) Pending(ctx context.Context, run prefect.FlowRun, why string) (err error) {
	defer exchange.Explain(&err, "set flow run %s %s", run.ID, nameInfraPending)
	if run.Claim == nil || !c.since(ctx, withNamedPending) {
		return nil
	}
	names := []string{nameInfraPending}
	if run.State.Name == nameInfraPending {
		if said, _ := cutNote(run.State.Message); said == why {
			return nil
		}
		names = []string{nameSubmitting, nameInfraPending}
	}
	for _, name := range names {
		p := propose(typePending, name, why)
		p.Message += "\n" + noteOf(*run.Claim, run.HandedBack)
		// The server refuses it once the pod has begun: then there is nothing to tell.
		if a, err := c.setState(ctx, "pending", run.ID, p, false); err != nil || a.Status != accepted {
			return err
		}
	}
	return nil
}

// Restore gives a run an earlier state back, with to's start time if it has one.
func (c *Client) Restore(ctx context.Context, run prefect.FlowRun, to prefect.State) (err error) {
	defer exchange.Explain(&err, "restore the state %s of flow run %s", to.Name, run.ID)
	p, err := restorable(to)
	if err != nil {
		return err
	}
	return c.set(ctx, "restore", run.ID, p, true)
}

// restorable is a proposal for a state that a run was in.
func restorable(s prefect.State) (p proposal, err error) {
	if err := json.Unmarshal(s.Opaque, &p); err != nil || p.Type == "" {
		return p, errors.New("the state is not known")
	}
	if p.Details == nil {
		p.Details = map[string]any{}
	}
	p.Details["transition_id"] = uuid.NewString()
	if s.Phase == prefect.Waiting && !s.StartTime.IsZero() {
		p = p.at(s.StartTime)
	}
	return p, nil
}

// storable makes a text that the API can keep: not too long, and without the NUL
// characters that PostgreSQL refuses (prefect3 §1.10).
func storable(s string) string {
	return shortened(strings.ReplaceAll(s, "\x00", ""), maxText)
}

// shortened is a text of at most so many bytes, and an ellipsis if it was longer.
func shortened(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
