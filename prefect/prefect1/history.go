package prefect1

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

// maxSubmissions of one attempt are read: launchers that met submit within seconds.
const maxSubmissions = 50

// History reads a run and the states written since an attempt was scheduled;
// prefect.ErrNotFound when there is no such run. A retry's attempt is no state of the
// run, so it brings the run alone.
func (c *Client) History(ctx context.Context, id string, attempt prefect.Attempt) (h prefect.History, err error) {
	defer exchange.Explain(&err, "read the history of flow run %s", id)
	tenant, err := c.tenantOfRun(ctx, id)
	if err != nil {
		return h, err
	}
	since, ok := versionOf(attempt)
	if !ok || since > math.MaxInt32 {
		since = math.MaxInt32
	}
	var at time.Time
	rows, fits, err := shrinking(ctx, maxTasks, func(ctx context.Context, tasks int) (*historyResponse, error) {
		at = time.Now()
		return history(ctx, c.wire, tenant, id, since, maxSubmissions, scheduledStates(), retryUntil(), tasks)
	})
	var written sinceFields
	switch {
	case err != nil:
		return h, err
	case !fits:
		h.Run, written, err = c.large(ctx, tenant, id, since)
	case len(rows.Flow_run) == 0:
		return h, prefect.ErrNotFound
	default:
		written = rows.Flow_run[0].sinceFields
		h.Run, err = flowRunOf(rows.Flow_run[0].retryFields, at)
	}
	if err != nil {
		return h, err
	}
	for _, s := range written.Submissions {
		if claim := claimIn(s.Serialized_state); claim != nil {
			h.Claims = append(h.Claims, *claim)
		}
	}
	for _, s := range written.Reached {
		h.Reached = stateOf(s.State, "", s.Serialized_state)
	}
	return h, nil
}

// States returns the last states of a run, the newest first; prefect.ErrNotFound when
// there is no such run.
func (c *Client) States(ctx context.Context, id string, limit int) (all []prefect.PastState, err error) {
	defer exchange.Explain(&err, "read the states of flow run %s", id)
	tenant, err := c.tenantOfRun(ctx, id)
	if err != nil {
		return nil, err
	}
	rows, err := read(ctx, func(ctx context.Context) (*pastStatesResponse, error) {
		return pastStates(ctx, c.wire, tenant, id, limit)
	})
	switch {
	case err != nil:
		return nil, err
	case len(rows.Flow_run) == 0:
		return nil, prefect.ErrNotFound
	}
	for _, s := range rows.Flow_run[0].States {
		state := stateOf(s.State, s.Start_time, nil)
		state.Message = s.Message
		all = append(all, prefect.PastState{State: state, At: timeOf(s.Timestamp), Claim: claimIn(s.Claim)})
	}
	return all, nil
}

// Restore gives a run an earlier state back, with to's start time if it has one.
func (c *Client) Restore(ctx context.Context, run prefect.FlowRun, to prefect.State) (err error) {
	defer exchange.Explain(&err, "restore the state %s of flow run %s", to.Name, run.ID)
	state, err := restorable(to)
	if err != nil {
		return err
	}
	return c.setFlowRunState(ctx, run.ID, expected(run), state)
}

func restorable(s prefect.State) (json.RawMessage, error) {
	m := object(s.Opaque)
	switch {
	case m == nil:
		return nil, errors.New("the state is not known")
	case s.StartTime.IsZero():
		return s.Opaque, nil
	}
	at, err := exchange.Encode(formatTime(s.StartTime))
	if err != nil {
		return nil, err
	}
	m["start_time"] = at
	return exchange.Encode(m)
}
