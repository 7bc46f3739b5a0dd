package prefect3

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

// readStates are all states of a run, the oldest first.
func (c *Client) readStates(ctx context.Context, id string) (all []state, err error) {
	if !isUUID(id) {
		return nil, prefect.ErrNotFound
	}
	err = c.wire.get(ctx, "states", "/flow_run_states/?flow_run_id="+id, &all)
	return all, err
}

// FlowRun reads one run as it is now; prefect.ErrNotFound when there is none.
func (c *Client) FlowRun(ctx context.Context, id string) (run prefect.FlowRun, err error) {
	defer exchange.Explain(&err, "read flow run %s", id)
	row, err := c.readRun(ctx, id)
	if err != nil {
		return run, err
	}
	if err := c.recoverClaims(ctx, row); err != nil {
		return run, err
	}
	return row.run(), nil
}

func (c *Client) readRun(ctx context.Context, id string) (*runRow, error) {
	if !isUUID(id) {
		return nil, prefect.ErrNotFound
	}
	var raw json.RawMessage
	at := time.Now()
	if err := c.wire.get(ctx, "flow_run", "/flow_runs/"+id, &raw); err != nil {
		return nil, err
	}
	return rowOf(raw, at)
}

// History reads a run and the states written since an attempt was scheduled;
// prefect.ErrNotFound when there is no such run.
func (c *Client) History(ctx context.Context, id string, attempt prefect.Attempt) (h prefect.History, err error) {
	defer exchange.Explain(&err, "read the history of flow run %s", id)
	if h.Run, err = c.FlowRun(ctx, id); err != nil {
		return h, err
	}
	all, err := c.readStates(ctx, id)
	if err != nil {
		return h, err
	}
	// What was written between the two questions is not of the run as it was read.
	if last := slices.IndexFunc(all, func(s state) bool { return s.ID == h.Run.Revision }); last >= 0 {
		all = all[:last+1]
	}
	revision, _ := strings.CutPrefix(string(attempt), "s")
	h.Claims, h.Reached = since(all, revision)
	return h, nil
}

// since tells what was written of a run after the state with an id. A Scheduled state that
// directly follows another is the same waiting: the server gives such states to runs that
// are late or found no slot.
func since(all []state, revision string) (claims []prefect.Claim, reached prefect.State) {
	at := slices.IndexFunc(all, func(s state) bool { return s.ID == revision })
	if at < 0 {
		return nil, reached
	}
	waits := true
	for _, s := range all[at+1:] {
		switch {
		case s.Type == typePending && s.Name == namePending:
			if c, _ := claimIn(s.Message); c != nil {
				claims = append(claims, *c)
			}
		case s.Type == typePending, s.Type == typeScheduled && waits:
		default:
			reached = s.domain()
		}
		waits = waits && s.Type == typeScheduled
	}
	return claims, reached
}

// States returns the last states of a run, the newest first; prefect.ErrNotFound when
// there is no such run.
func (c *Client) States(ctx context.Context, id string, limit int) (past []prefect.PastState, err error) {
	defer exchange.Explain(&err, "read the states of flow run %s", id)
	all, err := c.readStates(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, prefect.ErrNotFound
	}
	for _, s := range slices.Backward(all) {
		if len(past) == limit {
			break
		}
		p := prefect.PastState{State: s.domain(), At: s.Timestamp.Time}
		if s.Type == typePending {
			p.Claim, _ = claimIn(s.Message)
		}
		p.Message, _ = cutNote(p.Message)
		p.Opaque = nil
		past = append(past, p)
	}
	return past, nil
}

// began is what a run's history says of its present attempt.
type began struct {
	// claim is the last claim of ours, nil if somebody else claimed the run last.
	claim    *prefect.Claim
	returned int
	// never is set if no pod has begun the run since it was claimed.
	never bool
}

// beganOf reads it off the states of a run.
func beganOf(all []state) (b began) {
	for _, s := range slices.Backward(all) {
		switch {
		case s.Type == typePending && s.Name == namePending:
			b.claim, b.returned = claimIn(s.Message)
			return b
		case s.Type == typePending:
			if b.claim, b.returned = claimIn(s.Message); b.claim != nil {
				return b
			}
		}
	}
	return b
}

// neverBegan reports whether the attempt that is being cancelled, or was, had not been
// begun by a pod: start_time may be an earlier attempt's (prefect3 §5.3).
func neverBegan(all []state) bool {
	for _, s := range slices.Backward(all) {
		if s.Type != typeCancelling && s.Type != typeCancelled {
			return s.Type == typePending || s.Type == typeScheduled
		}
	}
	return false
}

// maxHistories are remembered; then the memory starts again.
const maxHistories = 5000

// histories remember what the history of a run says, until its state changes.
type histories struct {
	mu  sync.Mutex
	all map[string]began // by state id
}

func (h *histories) known(stateID string) (began, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, ok := h.all[stateID]
	return b, ok
}

// began asks for what the history of a run says, once for each of its states.
func (c *Client) began(ctx context.Context, r *runRow) (began, error) {
	b, known := c.histories.known(r.StateID)
	if known {
		return b, nil
	}
	all, err := c.readStates(ctx, r.ID)
	if err != nil {
		return b, err
	}
	b = beganOf(all)
	b.never = neverBegan(all)
	c.histories.mu.Lock()
	defer c.histories.mu.Unlock()
	if c.histories.all == nil || len(c.histories.all) >= maxHistories {
		c.histories.all = map[string]began{}
	}
	c.histories.all[r.StateID] = b
	return b, nil
}

// recoverClaims looks for the claims of Pending runs whose note an observer of somebody's
// has overwritten before the run was labelled (prefect3 §1.8).
func (c *Client) recoverClaims(ctx context.Context, rows ...*runRow) error {
	for _, r := range rows {
		if r.StateType != typePending || r.StateName == namePending || r.isOthers() {
			continue
		}
		if claim, _ := r.claim(); claim != nil {
			continue
		}
		b, err := c.began(ctx, r)
		if err != nil {
			return err
		}
		r.recovered = &b
	}
	return nil
}
