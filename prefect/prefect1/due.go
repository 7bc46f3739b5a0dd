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
	// queueSize is how many runs Cloud's queue hands out at once (prefect1-spec §1.11).
	queueSize = 25
	// claimedPageSize of the claims, which carry less.
	claimedPageSize = 500
	// firstTask of a Running run is what tells its attempt. Of a run that is to be
	// claimed as many are read as one claim takes.
	firstTask = 1
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
	due := func(id string, rawLabels json.RawMessage, at string, last *prefect.Claim) {
		labels, err := labelsOf(rawLabels)
		if err != nil {
			c.log.DebugContext(ctx, "skipped a flow run", "flow_run", id, "err", err)
			return
		}
		o.Due = append(o.Due, prefect.DueRun{ID: id, Labels: labels, Due: timeOf(at), LastClaim: last})
	}
	for _, r := range rows.Due {
		due(r.Id, r.Labels, r.State_start_time, nil)
	}
	for _, r := range rows.Retrying {
		if len(r.Task_runs) > 0 {
			due(r.Id, r.Labels, r.Task_runs[0].State_start_time, r.claim())
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

// Due returns the runs a launcher could claim. On Cloud these are the ones its
// queue hands out: only Cloud knows its concurrency limits.
func (c *Client) Due(ctx context.Context, q prefect.DueQuery) (prefect.DueRuns, error) {
	found, err := c.due(ctx, q)
	if err != nil {
		return prefect.DueRuns{}, fmt.Errorf("read due flow runs: %w", err)
	}
	return found, nil
}

func (c *Client) due(ctx context.Context, q prefect.DueQuery) (prefect.DueRuns, error) {
	var found prefect.DueRuns
	tenant, err := c.tenant(ctx)
	if err != nil || q.Limit <= 0 {
		return found, err
	}
	ids := json.RawMessage(`{}`)
	switch {
	case c.backend == Cloud:
		queued, err := c.queue(ctx, q.Labels, q.Until)
		if err != nil {
			return found, err
		}
		found.More = len(queued) >= queueSize
		queued = slices.DeleteFunc(queued, func(id string) bool { return slices.Contains(q.Except, id) })
		if len(queued) == 0 {
			return found, nil
		}
		ids = idFilter("_in", queued)
	case len(q.Except) > 0:
		ids = idFilter("_nin", q.Except)
	}
	retries := retryUntil()
	size := min(q.Limit, pageSize)
	wanted := func(r prefect.FlowRun) bool {
		return prefect.LabelsMatch(q.Labels, r.Labels) && r.RetriesIn(q.Namespace, q.NamespaceUID)
	}
	runs, err := c.paged(ctx, wanted, size, q.Limit, func(ctx context.Context, offset int) ([][]retryFields, error) {
		page, err := dueRuns(ctx, c.wire, tenant, ids, labelFilter(q.Labels), scheduledStates(), formatTime(q.Until), retries, firstTask, size, offset)
		if err != nil {
			return nil, err
		}
		scheduled := make([]retryFields, 0, len(page.Due))
		for _, r := range page.Due {
			scheduled = append(scheduled, retryFields{runFields: r})
		}
		return [][]retryFields{scheduled, page.Retrying}, nil
	})
	if err != nil {
		return found, err
	}
	runs = slices.DeleteFunc(runs, func(r prefect.FlowRun) bool { return !r.Claimable(q.Until) })
	slices.SortStableFunc(runs, func(a, b prefect.FlowRun) int {
		return cmp.Or(a.Due().Compare(b.Due()), cmp.Compare(a.ID, b.ID))
	})
	found.Runs, found.More = firstOfEach(runs, q.Limit), found.More || len(runs) >= q.Limit
	return found, nil
}

// firstOfEach cuts runs to so many that are scheduled and so many that wait for a
// retry. Their own pods see to most retries and leave them due until they do, so
// retries must not take the place of what only we launch.
func firstOfEach(runs []prefect.FlowRun, limit int) []prefect.FlowRun {
	counts := map[bool]int{}
	return slices.DeleteFunc(runs, func(r prefect.FlowRun) bool {
		kind := r.State.Type.IsScheduled()
		counts[kind]++
		return counts[kind] > limit
	})
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
	wanted := func(r prefect.FlowRun) bool { return prefect.LabelsMatch(labels, r.Labels) }
	runs, err := c.paged(ctx, wanted, claimedPageSize, maxObserved, func(ctx context.Context, offset int) ([][]retryFields, error) {
		page, err := claimedRuns(ctx, c.wire, tenant, labelFilter(labels), claimedPageSize, offset)
		if err != nil {
			return nil, err
		}
		rows := make([]retryFields, 0, len(page.Claimed))
		for _, r := range page.Claimed {
			rows = append(rows, retryFields{runFields: runFields{
				Id: r.Id, Labels: r.Labels, State: r.State, State_timestamp: r.State_timestamp, Heartbeat: r.Heartbeat, Serialized_state: r.Serialized_state,
			}})
		}
		return [][]retryFields{rows}, nil
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
		return flowRun(ctx, c.wire, tenant, id, scheduledStates(), retryUntil(), maxTasks)
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
func (c *Client) paged(ctx context.Context, wanted func(prefect.FlowRun) bool, size, enough int, page func(ctx context.Context, offset int) ([][]retryFields, error)) ([]prefect.FlowRun, error) {
	var runs []prefect.FlowRun
	seen := map[string]bool{}
	for offset := 0; ; offset += size {
		var at time.Time
		lists, err := read(ctx, func(ctx context.Context) ([][]retryFields, error) {
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
				if wanted(run) {
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

func scheduledStates() []string { return names(prefect.ScheduledFamily()) }

func names(states []prefect.StateType) []string {
	all := make([]string, 0, len(states))
	for _, s := range states {
		all = append(all, string(s))
	}
	return all
}

func retryUntil() string { return formatTime(time.Now().Add(-retryMargin)) }
