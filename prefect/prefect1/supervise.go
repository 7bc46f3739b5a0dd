package prefect1

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

// silentFor spans several heartbeats: the pod of a Running run sends one every 30 s.
const silentFor = 2 * time.Minute

// Supervise asks, in one request, how the runs of Jobs are: the states of those in
// trouble, those with an active Job that should end, and those of ours that have fallen
// silent. It leaves malformed ids out: anybody may have labelled a Job.
func (c *Client) Supervise(ctx context.Context, troubled, active []string) (s prefect.Supervision, err error) {
	defer exchange.Explain(&err, "read the flow runs of Jobs")
	tenant, err := c.TenantID(ctx)
	if err != nil {
		return s, err
	}
	rows, err := c.superviseAtMost(ctx, tenant, formatTime(time.Now().Add(-silentFor)), troubled, active, maxObserved)
	if err != nil {
		return s, err
	}
	add := func(to *[]prefect.JobRun, row jobRunFields, claim prefect.Claim) {
		place, err := placeOf(row.Labels)
		if err != nil {
			c.log.DebugContext(ctx, "skipped a flow run", "flow_run", row.Id, "err", err)
			return
		}
		*to = append(*to, prefect.JobRun{
			ID: row.Id, Place: place, Phase: phaseOf(row.State, time.Time{}), StateAt: timeOf(row.State_timestamp), Claim: claim,
		})
	}
	for _, row := range rows.Troubled {
		add(&s.Troubled, row, prefect.Claim{})
	}
	for _, row := range rows.Ending {
		add(&s.Ending, row, prefect.Claim{})
	}
	ended := map[string]bool{}
	for _, row := range slices.Concat(rows.Troubled, rows.Ending) {
		if slices.Contains(finishedStates(), row.State) {
			ended[row.Id] = true
		}
	}
	for _, row := range rows.Silent {
		// The parts may be of different moments: a run that has ended is not silent.
		if ended[row.Id] {
			continue
		}
		// Other submitters look after their own runs.
		if claim := row.claim(); claim != nil {
			add(&s.Silent, row.jobRunFields, *claim)
		}
	}
	return s, nil
}

// endingStates are the states of runs whose Jobs should end.
func endingStates() []string { return append(finishedStates(), stateCancelling) }

// superviseAtMost splits a question whose rows are too large together, and leaves out a
// row too large by itself: its author must not keep us from others' Jobs.
func (c *Client) superviseAtMost(ctx context.Context, tenant, silentSince string, troubled, active []string, limit int) (*superviseResponse, error) {
	rows, err := read(ctx, func(ctx context.Context) (*superviseResponse, error) {
		return supervise(ctx, c.wire, tenant, idFilter("_in", troubled), idFilter("_in", active), endingStates(), scheduledStates(), silentSince, limit)
	})
	if !answerTooLarge.is(err) {
		return rows, err
	}
	rows = &superviseResponse{}
	ask := func(troubled, active []string, limit int) error {
		some, err := c.superviseAtMost(ctx, tenant, silentSince, troubled, active, limit)
		if err == nil {
			rows.Troubled = append(rows.Troubled, some.Troubled...)
			rows.Ending = append(rows.Ending, some.Ending...)
			rows.Silent = append(rows.Silent, some.Silent...)
		}
		return err
	}
	t, a := len(troubled)/2, len(active)/2
	switch {
	case limit > 0 && len(troubled)+len(active) > 0:
		return rows, errors.Join(ask(troubled, active, 0), ask(nil, nil, limit))
	case limit > 1:
		return rows, ask(nil, nil, limit/8+1)
	case len(troubled) > 0 && len(active) > 0:
		return rows, errors.Join(ask(troubled, nil, 0), ask(nil, active, 0))
	case len(troubled)+len(active) > 1:
		return rows, errors.Join(ask(troubled[:t], active[:a], 0), ask(troubled[t:], active[a:], 0))
	}
	c.log.DebugContext(ctx, "left out a flow run that is too large", "flow_run", strings.Join(slices.Concat(troubled, active), ""))
	return rows, nil
}

// idFilter compares the id column with the well-formed ids.
func idFilter(operator string, ids []string) json.RawMessage {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !isUUID(id) })
	filter, err := json.Marshal(map[string][]string{operator: listOf(ids)})
	if err != nil {
		return nil // unreachable: strings always encode
	}
	return filter
}
