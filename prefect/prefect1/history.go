package prefect1

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// maxSubmissions of one attempt are read. Each is a launcher's that met the others
// within seconds.
const maxSubmissions = 50

// History reads a run with what was written of it since an attempt was scheduled;
// prefect.ErrNotFound when there is none. Of a retry's attempt, which is no state of
// the run, it is the run alone.
func (c *Client) History(ctx context.Context, id string, attempt prefect.Attempt) (prefect.History, error) {
	h, err := c.history(ctx, id, attempt)
	if err != nil {
		return prefect.History{}, fmt.Errorf("read the history of flow run %s: %w", id, err)
	}
	return h, nil
}

func (c *Client) history(ctx context.Context, id string, attempt prefect.Attempt) (prefect.History, error) {
	var h prefect.History
	if !isUUID(id) {
		return h, fmt.Errorf("%w: the id is not a UUID", prefect.ErrNotFound)
	}
	tenant, err := c.tenant(ctx)
	if err != nil {
		return h, err
	}
	since, ok := attempt.Version()
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

// Restore gives a run a state back that it was in before, as it was but for when a
// scheduled one is due.
func (c *Client) Restore(ctx context.Context, run prefect.FlowRun, to prefect.State) error {
	state, err := restorable(to)
	if err == nil {
		err = c.setFlowRunState(ctx, run.ID, &run.Version, state)
	}
	if err != nil {
		return fmt.Errorf("restore the state %s of flow run %s: %w", to.Type, run.ID, err)
	}
	return nil
}

func restorable(s prefect.State) (json.RawMessage, error) {
	m := object(s.Opaque)
	switch {
	case m == nil:
		return nil, errors.New("the state is not known")
	case !s.Type.IsScheduled() || s.StartTime.IsZero():
		return s.Opaque, nil
	}
	at, err := encode(formatTime(s.StartTime))
	if err != nil {
		return nil, err
	}
	m["start_time"] = at
	return encode(m)
}
