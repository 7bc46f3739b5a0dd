package prefect1

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// silentFor: a pod sends a sign of life every 30 s while its run is Running.
const silentFor = 2 * time.Minute

// Supervise asks, in one request, what the runs of Jobs are at: what has become
// of those in trouble, which of those with an active Job should end, and which
// runs of ours have fallen silent. Ids that are none are left out: anybody may
// have labelled a Job.
func (c *Client) Supervise(ctx context.Context, troubled, active []string) (prefect.Supervision, error) {
	s, err := c.supervise(ctx, troubled, active)
	if err != nil {
		return prefect.Supervision{}, fmt.Errorf("read the flow runs of Jobs: %w", err)
	}
	return s, nil
}

func (c *Client) supervise(ctx context.Context, troubled, active []string) (prefect.Supervision, error) {
	tenant, err := c.tenant(ctx)
	if err != nil {
		return prefect.Supervision{}, err
	}
	silentSince := formatTime(time.Now().Add(-silentFor))
	rows, err := read(ctx, func(ctx context.Context) (*superviseResponse, error) {
		return supervise(ctx, c.wire, tenant, idFilter("_in", troubled), idFilter("_in", active), endingStates(), scheduledStates(), silentSince, maxObserved)
	})
	if err != nil {
		return prefect.Supervision{}, err
	}
	var s prefect.Supervision
	add := func(to *[]prefect.JobRun, row jobRunFields, claim prefect.Claim) {
		labels, err := labelsOf(row.Labels)
		if err != nil {
			c.log.DebugContext(ctx, "skipped a flow run", "flow_run", row.Id, "err", err)
			return
		}
		*to = append(*to, prefect.JobRun{
			ID: row.Id, Labels: labels, State: prefect.StateType(row.State), StateAt: timeOf(row.State_timestamp), Claim: claim,
		})
	}
	for _, row := range rows.Troubled {
		add(&s.Troubled, row, prefect.Claim{})
	}
	for _, row := range rows.Ending {
		add(&s.Ending, row, prefect.Claim{})
	}
	for _, row := range rows.Silent {
		// Who else submits runs looks after them.
		if claim := row.claim(); claim != nil {
			add(&s.Silent, row.jobRunFields, *claim)
		}
	}
	return s, nil
}

// endingStates are those of runs whose Jobs should end.
func endingStates() []string { return names(append(prefect.FinishedFamily(), prefect.Cancelling)) }

// idFilter compares the id column with ids, less what is none.
func idFilter(operator string, ids []string) json.RawMessage {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !isUUID(id) })
	filter, err := json.Marshal(map[string][]string{operator: listOf(ids)})
	if err != nil {
		return nil // unreachable: strings always encode
	}
	return filter
}
