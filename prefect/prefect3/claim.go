package prefect3

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

// restoreWithin bounds the undoing of a claim that revived a finished run.
const restoreWithin = 15 * time.Second

// transitionID is the same for all launchers of a namespace that claim the same state, and
// another one after each reschedule. The server takes one claim of those with one id, and
// tells the others whose it was (prefect3 §2.1).
func transitionID(namespaceUID, run, revision string) string {
	space, err := uuid.Parse(namespaceUID)
	if err != nil {
		space = uuid.NewSHA1(uuid.NameSpaceOID, []byte(namespaceUID))
	}
	return uuid.NewSHA1(space, []byte(run+":"+revision)).String()
}

// Claim tries once to make the run ours: it proposes Pending, with the claim's note as the
// message. The Answer tells the outcome; an error means that the API refused the request
// itself (a key, a fault of ours) and would refuse it again.
//
// A claim of a run in a limited work pool or queue is held back while this client's own
// claims have used up what was free when it last looked: the server does not count them
// (prefect3 §1.5).
func (c *Client) Claim(ctx context.Context, run prefect.FlowRun, claim prefect.Claim) (result prefect.ClaimResult, err error) {
	defer exchange.Explain(&err, "claim flow run %s", run.ID)
	if !run.State.Phase.IsWaiting() {
		return result, fmt.Errorf("its state %s cannot be claimed", run.State.Name)
	}
	if full := c.slots.reserve(run.ID, run.Place); full != "" {
		return prefect.ClaimResult{Answer: prefect.NotNow, Reason: full}, nil
	}
	p := proposal{
		Type: typePending, Name: namePending, Message: noteOf(claim, returnedBefore(run)),
		Details: map[string]any{"transition_id": transitionID(claim.NamespaceUID, run.ID, run.Revision)},
	}
	a, err := c.setState(ctx, "claim", run.ID, p, false)
	result, err = c.answerOf(ctx, run, claim, p, a, err)
	c.slots.settle(run.ID, result.Answer == prefect.Won || result.Answer == prefect.Unknown, time.Now())
	return result, err
}

// answerOf is what an answer to a claim means (prefect3 §1.7).
func (c *Client) answerOf(ctx context.Context, run prefect.FlowRun, claim prefect.Claim, p proposal, a answered, failed error) (prefect.ClaimResult, error) {
	if failed != nil {
		return answerOfError(failed)
	}
	r := prefect.ClaimResult{Answer: prefect.Lost, Reason: a.String()}
	isOurs := a.State.Type == typePending && a.State.Details.Transition == p.Details["transition_id"]
	if isOurs && a.Status == rejects {
		// It was applied before: by an earlier try of this request, or by a launcher beside us.
		written, _ := claimIn(a.State.Message)
		isOurs = written != nil && *written == claim
	}
	switch {
	case isOurs && a.State.Details.Scheduled.IsZero():
		// Only a finished run has no such time: the claim came late and has revived it.
		c.putBack(ctx, run, a.State.ID)
	case isOurs && (a.Status == accepted || a.Status == rejects):
		c.slots.hold(run.ID, a.State.Details.Lease, time.Now())
		r.Answer, r.Sole, r.HasSlot = prefect.Won, true, a.State.Details.Lease != ""
	case a.Status == rejects && a.State.Name == nameAwaitsSlot,
		a.Status == aborted && strings.Contains(a.Details.Reason, "limit is 0"):
		r.Answer = prefect.NotNow
	case a.Status == rejects || a.Status == aborted:
	default:
		r.Answer = prefect.Unknown
	}
	return r, nil
}

// answerOfError is a claim's answer if there is no answer of the rules. A claim is Lost or
// NotNow only if it certainly was not applied.
func answerOfError(err error) (prefect.ClaimResult, error) {
	var e *Error
	switch {
	case errors.Is(err, prefect.ErrNotFound):
		return prefect.ClaimResult{Answer: prefect.Lost, Reason: err.Error()}, nil
	case !errors.As(err, &e):
		return prefect.ClaimResult{}, err
	}
	r := prefect.ClaimResult{Answer: prefect.Unknown, Reason: e.Error(), RetryAfter: e.retryAfter}
	switch e.kind {
	case throttled, unsent:
		r.Answer = prefect.NotNow
	case auth, csrf, rejected, noRoute, gone, answerTooLarge:
		return prefect.ClaimResult{}, err
	}
	return r, nil
}

// putBack restores the state that a claim has overwritten, best effort: the claim's note
// stays, and the next launcher that meets it finds the same in the run's history.
func (c *Client) putBack(ctx context.Context, run prefect.FlowRun, pending string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreWithin)
	defer cancel()
	err := func() error {
		all, err := c.readStates(ctx, run.ID)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(all, func(s state) bool { return s.ID == pending })
		if at < 1 || at != len(all)-1 {
			return nil // somebody else has put it back
		}
		return c.Restore(prefect.WithSendBy(ctx, time.Now().Add(restoreWithin)), run, all[at-1].domain())
	}()
	if err != nil {
		c.log.WarnContext(ctx, "a claim came late and its finished flow run could not be put back yet", "flow_run", run.ID, "err", err)
	}
}
