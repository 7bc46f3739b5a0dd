package prefect1

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// maxObserved rows of each kind are counted in one look. Beyond, the answer
	// would cost the API more than knowing the exact number is worth.
	maxObserved = 5000
	// pageSize of reads that carry all that rendering needs.
	pageSize = 100
	// claimedPageSize of the claims, which carry less.
	claimedPageSize = 500
	// firstTask of a Running run is what tells its attempt; maxDueTasks are read of
	// a run that is to be claimed. Its pod takes up what is left by itself.
	firstTask   = 1
	maxDueTasks = 1000
	// retryMargin: a pod that waits for a retry itself has this long to take it,
	// before the retry counts as due for a new pod (prefect1-spec OP-7).
	retryMargin = 3 * time.Second
)

// Observe counts what waits: runs due before until, and runs a launcher of ours
// has claimed that no pod has started. It is one request.
func (c *Client) Observe(ctx context.Context, until time.Time) (prefect.Observation, error) {
	o, err := c.observe(ctx, until)
	if err != nil {
		return prefect.Observation{}, fmt.Errorf("observe due flow runs: %w", err)
	}
	return o, nil
}

func (c *Client) observe(ctx context.Context, until time.Time) (prefect.Observation, error) {
	tenant, err := c.tenant(ctx)
	if err != nil {
		return prefect.Observation{}, err
	}
	rows, err := read(ctx, func(ctx context.Context) (*observeResponse, error) {
		return observe(ctx, c.wire, tenant, scheduledStates(), formatTime(until), retryUntil(), maxObserved)
	})
	if err != nil {
		return prefect.Observation{}, err
	}
	o := prefect.Observation{
		Truncated: max(len(rows.Due), len(rows.Retrying), len(rows.Claimed)) >= maxObserved,
	}
	due := func(id string, rawLabels json.RawMessage, at string) {
		labels, err := labelsOf(rawLabels)
		if err != nil {
			c.log.DebugContext(ctx, "skipped a flow run", "flow_run", id, "err", err)
			return
		}
		o.Due = append(o.Due, prefect.DueRun{ID: id, Labels: labels, Due: timeOf(at)})
	}
	for _, r := range rows.Due {
		due(r.Id, r.Labels, r.State_start_time)
	}
	for _, r := range rows.Retrying {
		if len(r.Task_runs) > 0 {
			due(r.Id, r.Labels, r.Task_runs[0].State_start_time)
		}
	}
	for _, r := range rows.Claimed {
		labels, err := labelsOf(r.Labels)
		claim := claimOf(r.Serialized_state)
		if err != nil || claim == nil {
			c.log.DebugContext(ctx, "skipped a claimed flow run", "flow_run", r.Id, "err", err)
			continue
		}
		o.Claimed = append(o.Claimed, prefect.ClaimedRun{
			ID: r.Id, Labels: labels, Claim: *claim, ClaimedAt: timeOf(r.State_timestamp), Heartbeat: timeOf(r.Heartbeat),
		})
	}
	slices.SortStableFunc(o.Due, func(a, b prefect.DueRun) int { return a.Due.Compare(b.Due) })
	return o, nil
}

// Due returns up to limit runs a launcher with these labels could claim by
// until, in due order. On Cloud these are the ones its queue hands out: only
// Cloud knows its concurrency limits.
func (c *Client) Due(ctx context.Context, labels []string, until time.Time, limit int) ([]prefect.FlowRun, error) {
	runs, err := c.due(ctx, labels, until, limit)
	if err != nil {
		return nil, fmt.Errorf("read due flow runs: %w", err)
	}
	return runs, nil
}

func (c *Client) due(ctx context.Context, labels []string, until time.Time, limit int) ([]prefect.FlowRun, error) {
	tenant, err := c.tenant(ctx)
	if err != nil || limit <= 0 {
		return nil, err
	}
	ids := json.RawMessage(`{}`)
	if c.backend == Cloud {
		queued, err := c.queue(ctx, labels, until)
		if err != nil || len(queued) == 0 {
			return nil, err
		}
		if ids, err = json.Marshal(map[string][]string{"_in": queued}); err != nil {
			return nil, err
		}
	}
	retries := retryUntil()
	size := min(limit, pageSize)
	runs, err := c.paged(ctx, labels, size, limit, func(ctx context.Context, offset int) ([][]runFields, error) {
		page, err := dueRuns(ctx, c.wire, tenant, ids, labelFilter(labels), scheduledStates(), formatTime(until), retries, firstTask, size, offset)
		if err != nil {
			return nil, err
		}
		return [][]runFields{page.Due, page.Retrying}, nil
	})
	if err != nil {
		return nil, err
	}
	runs = slices.DeleteFunc(runs, func(r prefect.FlowRun) bool { return !r.Claimable(until) })
	slices.SortStableFunc(runs, func(a, b prefect.FlowRun) int {
		return cmp.Or(a.Due().Compare(b.Due()), cmp.Compare(a.ID, b.ID))
	})
	return runs[:min(len(runs), limit)], nil
}

// Claimed returns the runs with these labels that carry a claim of ours and
// that no pod has started, oldest claim first. Of each it tells only the id, the
// labels, the state and the claim.
func (c *Client) Claimed(ctx context.Context, labels []string) ([]prefect.FlowRun, error) {
	runs, err := c.claimed(ctx, labels)
	if err != nil {
		return nil, fmt.Errorf("read claimed flow runs: %w", err)
	}
	return runs, nil
}

func (c *Client) claimed(ctx context.Context, labels []string) ([]prefect.FlowRun, error) {
	tenant, err := c.tenant(ctx)
	if err != nil {
		return nil, err
	}
	runs, err := c.paged(ctx, labels, claimedPageSize, maxObserved, func(ctx context.Context, offset int) ([][]runFields, error) {
		page, err := claimedRuns(ctx, c.wire, tenant, labelFilter(labels), claimedPageSize, offset)
		if err != nil {
			return nil, err
		}
		rows := make([]runFields, 0, len(page.Claimed))
		for _, r := range page.Claimed {
			rows = append(rows, runFields{
				Id: r.Id, Labels: r.Labels, State: r.State, State_timestamp: r.State_timestamp, Heartbeat: r.Heartbeat, Serialized_state: r.Serialized_state,
			})
		}
		return [][]runFields{rows}, nil
	})
	return slices.DeleteFunc(runs, func(r prefect.FlowRun) bool { return r.Claim == nil }), err
}

// FlowRun reads one run as it is now; prefect.ErrNotFound when there is none.
func (c *Client) FlowRun(ctx context.Context, id string) (prefect.FlowRun, error) {
	run, err := c.flowRun(ctx, id)
	if err != nil {
		return prefect.FlowRun{}, fmt.Errorf("read flow run %s: %w", id, err)
	}
	return run, nil
}

func (c *Client) flowRun(ctx context.Context, id string) (prefect.FlowRun, error) {
	// Ids come from labels of Jobs, which anybody may have written.
	if !isUUID(id) {
		return prefect.FlowRun{}, fmt.Errorf("%w: the id is not a UUID", prefect.ErrNotFound)
	}
	tenant, err := c.tenant(ctx)
	if err != nil {
		return prefect.FlowRun{}, err
	}
	var at time.Time
	rows, err := read(ctx, func(ctx context.Context) (*flowRunResponse, error) {
		at = time.Now()
		return flowRun(ctx, c.wire, tenant, id, scheduledStates(), retryUntil(), maxDueTasks)
	})
	if err != nil {
		return prefect.FlowRun{}, err
	}
	if len(rows.Flow_run) == 0 {
		return prefect.FlowRun{}, prefect.ErrNotFound
	}
	return flowRunOf(rows.Flow_run[0], at)
}

// paged collects the runs of a query page by page until enough are there or
// nothing new comes. Each run is as old as its own page. Rows that leave the result between two pages shift others
// past us; those are found the next time.
func (c *Client) paged(ctx context.Context, labels []string, size, enough int, page func(ctx context.Context, offset int) ([][]runFields, error)) ([]prefect.FlowRun, error) {
	var runs []prefect.FlowRun
	seen := map[string]bool{}
	for offset := 0; ; offset += size {
		var at time.Time
		lists, err := read(ctx, func(ctx context.Context) ([][]runFields, error) {
			at = time.Now()
			return page(ctx, offset)
		})
		if err != nil {
			return nil, err
		}
		full, news := false, false
		for _, rows := range lists {
			full = full || len(rows) >= size
			for _, row := range rows {
				if seen[row.Id] {
					continue
				}
				seen[row.Id], news = true, true
				run, err := flowRunOf(row, at)
				if err != nil {
					c.log.DebugContext(ctx, "skipped a flow run", "flow_run", row.Id, "err", err)
					continue
				}
				if prefect.LabelsMatch(labels, run.Labels) {
					runs = append(runs, run)
				}
			}
		}
		if !full || !news || len(runs) >= enough {
			return runs, nil
		}
	}
}

// labelFilter is Prefect's label rule (prefect1-spec §3.1) as a comparison of
// the labels column.
func labelFilter(labels []string) json.RawMessage {
	if len(labels) == 0 {
		return json.RawMessage(`{"_eq": []}`)
	}
	filter, err := json.Marshal(map[string][]string{"_contained_in": labels, "_neq": {}})
	if err != nil {
		return nil // unreachable: strings always encode
	}
	return filter
}

func scheduledStates() []string {
	var names []string
	for _, s := range prefect.ScheduledFamily() {
		names = append(names, string(s))
	}
	return names
}

func retryUntil() string { return formatTime(time.Now().Add(-retryMargin)) }
