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
// has claimed that no pod has started, each run once. It is one request, whose parts
// may be of different moments.
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
	rows, limit, err := c.observeAtMost(ctx, tenant, formatTime(until), maxObserved)
	if err != nil {
		return prefect.Observation{}, err
	}
	if limit > 0 && len(rows.Due)+len(rows.Retrying)+len(rows.Claimed) == 0 {
		switch elsewhere, err := c.isElsewhere(ctx, tenant); {
		case err != nil:
			return prefect.Observation{}, err
		case elsewhere:
			return c.observe(ctx, until)
		}
	}
	o := prefect.Observation{Truncated: max(len(rows.Due), len(rows.Retrying), len(rows.Claimed)) >= limit}
	o.TooLarge = o.Truncated && limit < maxObserved
	// The parts may be of different moments (Apollo asks for each by itself), so a run
	// that is on its way from one to another may be in both: it counts once, and rather
	// as claimed, which is where runs go. One that is in neither is in the next look.
	counted := map[string]bool{}
	add := func(id string, rawLabels json.RawMessage, to func(labels []string)) {
		labels, err := labelsOf(rawLabels)
		switch {
		case err != nil:
			c.log.DebugContext(ctx, "skipped a flow run", "flow_run", id, "err", err)
		case !counted[id]:
			counted[id] = true
			to(labels)
		}
	}
	for _, r := range rows.Claimed {
		if claim := claimIn(r.Claim); claim != nil {
			add(r.Id, r.Labels, func(labels []string) {
				o.Claimed = append(o.Claimed, prefect.ClaimedRun{
					ID: r.Id, Labels: labels, Claim: *claim, ClaimedAt: timeOf(r.State_timestamp), Heartbeat: timeOf(r.Heartbeat),
				})
			})
		}
	}
	for _, r := range rows.Due {
		add(r.Id, r.Labels, func(labels []string) {
			o.Due = append(o.Due, prefect.DueRun{ID: r.Id, Labels: labels, Due: timeOf(r.State_start_time)})
		})
	}
	for _, r := range rows.Retrying {
		if len(r.Task_runs) == 0 {
			continue
		}
		add(r.Id, r.Labels, func(labels []string) {
			o.Due = append(o.Due, prefect.DueRun{ID: r.Id, Labels: labels, Due: timeOf(r.Task_runs[0].State_start_time), LastClaim: r.claim()})
		})
	}
	slices.SortStableFunc(o.Due, func(a, b prefect.DueRun) int { return a.Due.Compare(b.Due) })
	return o, nil
}

// observeAtMost counts fewer where the rows are too large, so that whoever makes
// them so hides others and not everything.
func (c *Client) observeAtMost(ctx context.Context, tenant, until string, limit int) (*observeResponse, int, error) {
	rows, err := read(ctx, func(ctx context.Context) (*observeResponse, error) {
		return observe(ctx, c.wire, tenant, scheduledStates(), until, retryUntil(), limit)
	})
	switch {
	case !answerTooLarge.is(err):
		return rows, limit, err
	case limit <= 1:
		return &observeResponse{}, 0, nil
	}
	return c.observeAtMost(ctx, tenant, until, limit/8+1)
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
	wanted := func(r prefect.FlowRun) bool {
		return prefect.LabelsMatch(q.Labels, r.Labels) && r.RetriesIn(q.Namespace, q.NamespaceUID)
	}
	runs, more, err := c.collect(ctx, wanted, listing{
		size: min(q.Limit, pageSize), enough: q.Limit,
		page: func(ctx context.Context, at time.Time, size, offset int) ([][]row, error) {
			page, err := dueRuns(ctx, c.wire, tenant, ids, labelFilter(q.Labels), scheduledStates(), formatTime(q.Until), retries, firstTask, size, offset)
			if err != nil {
				return nil, err
			}
			return [][]row{rowsOf(page.Due, at, scheduledRunOf), rowsOf(page.Retrying, at, flowRunOf)}, nil
		},
		single: func(ctx context.Context, offset int) ([][]row, error) {
			return c.singleDue(ctx, tenant, ids, q, retries, offset)
		},
	})
	if err != nil {
		return found, err
	}
	if len(runs) == 0 {
		switch elsewhere, err := c.isElsewhere(ctx, tenant); {
		case err != nil:
			return found, err
		case elsewhere:
			return c.due(ctx, q)
		}
	}
	runs = slices.DeleteFunc(runs, func(r prefect.FlowRun) bool { return !r.Claimable(q.Until) })
	slices.SortStableFunc(runs, func(a, b prefect.FlowRun) int {
		return cmp.Or(a.Due().Compare(b.Due()), cmp.Compare(a.ID, b.ID))
	})
	found.Runs, found.More = firstOfEach(runs, q.Limit), found.More || more || len(runs) >= q.Limit
	return found, nil
}

// singleDue reads what dueRuns has at one place, run by run.
func (c *Client) singleDue(ctx context.Context, tenant string, ids json.RawMessage, q prefect.DueQuery, retries string, offset int) ([][]row, error) {
	found, err := read(ctx, func(ctx context.Context) (*dueIDsResponse, error) {
		return dueIDs(ctx, c.wire, tenant, ids, labelFilter(q.Labels), scheduledStates(), formatTime(q.Until), retries, offset)
	})
	if err != nil {
		return nil, err
	}
	var kinds [2][]string
	for _, r := range found.Due {
		kinds[0] = append(kinds[0], r.Id)
	}
	for _, r := range found.Retrying {
		kinds[1] = append(kinds[1], r.Id)
	}
	var lists [][]row
	for _, ids := range kinds {
		rows, err := c.each(ctx, tenant, ids)
		if err != nil {
			return nil, err
		}
		lists = append(lists, rows)
	}
	return lists, nil
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
	runs, _, err := c.collect(ctx, wanted, listing{
		size: claimedPageSize, enough: maxObserved,
		page: func(ctx context.Context, at time.Time, size, offset int) ([][]row, error) {
			page, err := claimedRuns(ctx, c.wire, tenant, labelFilter(labels), size, offset)
			if err != nil {
				return nil, err
			}
			return [][]row{rowsOf(page.Claimed, at, claimedRunOf)}, nil
		},
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
	return c.one(ctx, tenant, id, maxTasks)
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
