package prefect1

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

const (
	// maxObserved rows of each kind are counted in one poll. Beyond, the exact number
	// would cost the API more than it is worth.
	maxObserved = 5000
	// pageSize is for reads that carry all that rendering needs.
	pageSize = 100
	// queueSize is how many runs Cloud's queue hands out at once (prefect1 §1.11).
	queueSize = 25
	// claimedPageSize is for claims, which carry less.
	claimedPageSize = 500
	// firstTask of a Running run names its attempt. A run to be claimed is read with as
	// many tasks as one claim takes.
	firstTask = 1
	// retryMargin: a pod that waits for a retry itself has this long to take it,
	// before the retry counts as due for a new pod (prefect1 §1.10).
	retryMargin = 3 * time.Second
)

// Observe counts the runs that wait: those due before until, and those that our launchers
// have claimed and no pod has started, each run once. The parts of its one request may be
// of different moments.
func (c *Client) Observe(ctx context.Context, until time.Time) (o prefect.Observation, err error) {
	defer exchange.Explain(&err, "observe due flow runs")
	var rows *observeResponse
	var limit int
	err = c.inTenant(ctx, func(tenant string) (isEmpty bool, err error) {
		rows, limit, err = c.observeAtMost(ctx, tenant, formatTime(until), maxObserved)
		if err != nil {
			return false, err
		}
		return limit > 0 && len(rows.Due)+len(rows.Retrying)+len(rows.Claimed) == 0, nil
	})
	if err != nil {
		return o, err
	}
	o.Truncated = max(len(rows.Due), len(rows.Retrying), len(rows.Claimed)) >= limit
	o.TooLarge = o.Truncated && limit < maxObserved
	// Apollo asks for each part by itself, so a run on its way from one part to another
	// may be in both: it counts once, and as claimed, because runs go that way. The next
	// poll finds a run that is in neither.
	counted := map[string]bool{}
	add := func(id string, labels json.RawMessage, to func(prefect.Place)) {
		place, err := placeOf(labels)
		switch {
		case err != nil:
			c.log.DebugContext(ctx, "skipped a flow run", "flow_run", id, "err", err)
		case !counted[id]:
			counted[id] = true
			to(place)
		}
	}
	for _, r := range rows.Claimed {
		if claim := claimIn(r.Claim); claim != nil {
			add(r.Id, r.Labels, func(place prefect.Place) {
				o.Claimed = append(o.Claimed, prefect.ClaimedRun{
					ID: r.Id, Place: place, Claim: *claim, KeepBy: keepBy(timeOf(r.State_timestamp), timeOf(r.Heartbeat)), KeepFor: keepFor,
				})
			})
		}
	}
	for _, r := range rows.Due {
		add(r.Id, r.Labels, func(place prefect.Place) {
			o.Due = append(o.Due, prefect.DueRun{ID: r.Id, Place: place, Due: timeOf(r.State_start_time)})
		})
	}
	for _, r := range rows.Retrying {
		if len(r.Task_runs) == 0 {
			continue
		}
		add(r.Id, r.Labels, func(place prefect.Place) {
			o.Due = append(o.Due, prefect.DueRun{ID: r.Id, Place: place, Due: timeOf(r.Task_runs[0].State_start_time), LastClaim: r.claim()})
		})
	}
	slices.SortStableFunc(o.Due, func(a, b prefect.DueRun) int { return a.Due.Compare(b.Due) })
	return o, nil
}

// observeAtMost counts fewer where the rows are too large, so that their author hides
// some runs and not all.
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

// Due returns the runs a launcher could claim. On Cloud, its queue names them: only Cloud
// knows its concurrency limits.
func (c *Client) Due(ctx context.Context, q prefect.DueQuery) (found prefect.DueRuns, err error) {
	defer exchange.Explain(&err, "read due flow runs")
	if _, err := c.TenantID(ctx); err != nil || q.Limit <= 0 {
		return found, err
	}
	ids := json.RawMessage(`{}`)
	switch {
	case c.backend == Cloud:
		queued, err := c.queue(ctx, q.Scope.Labels, q.Until)
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
		return q.Scope.Takes(r.Place) && r.RetriesIn(q.Namespace, q.NamespaceUID)
	}
	var runs []prefect.FlowRun
	var more bool
	err = c.inTenant(ctx, func(tenant string) (isEmpty bool, err error) {
		runs, more, err = c.collect(ctx, wanted, listing{
			size: min(q.Limit, pageSize), enough: q.Limit,
			page: func(ctx context.Context, at time.Time, size, offset int) ([][]row, error) {
				page, err := dueRuns(ctx, c.wire, tenant, ids, labelFilter(q.Scope.Labels), scheduledStates(), formatTime(q.Until), retries, firstTask, size, offset)
				if err != nil {
					return nil, err
				}
				return [][]row{rowsOf(page.Due, at, scheduledRunOf), rowsOf(page.Retrying, at, flowRunOf)}, nil
			},
			single: func(ctx context.Context, offset int) ([][]row, error) {
				return c.singleDue(ctx, tenant, ids, q, retries, offset)
			},
		})
		return len(runs) == 0, err
	})
	if err != nil {
		return found, err
	}
	runs = slices.DeleteFunc(runs, func(r prefect.FlowRun) bool { return !r.Claimable(q.Until) })
	slices.SortStableFunc(runs, func(a, b prefect.FlowRun) int {
		return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.ID, b.ID))
	})
	found.Runs, found.More = firstOfEach(runs, q.Limit), found.More || more || len(runs) >= q.Limit
	return found, nil
}

// singleDue reads the rows of dueRuns at one offset, run by run.
func (c *Client) singleDue(ctx context.Context, tenant string, ids json.RawMessage, q prefect.DueQuery, retries string, offset int) ([][]row, error) {
	found, err := read(ctx, func(ctx context.Context) (*dueIDsResponse, error) {
		return dueIDs(ctx, c.wire, tenant, ids, labelFilter(q.Scope.Labels), scheduledStates(), formatTime(q.Until), retries, offset)
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

// firstOfEach cuts runs to limit scheduled ones and limit retrying ones. Most retries
// stay due until their own pods take them, so they must not displace runs that only we
// launch.
func firstOfEach(runs []prefect.FlowRun, limit int) []prefect.FlowRun {
	counts := map[bool]int{}
	return slices.DeleteFunc(runs, func(r prefect.FlowRun) bool {
		kind := r.State.Phase.IsWaiting()
		counts[kind]++
		return counts[kind] > limit
	})
}

// Claimed returns the runs in the scope that carry our claim and that no pod has started,
// oldest claim first, with only their id, place, state and claim.
func (c *Client) Claimed(ctx context.Context, scope prefect.Scope) (runs []prefect.FlowRun, err error) {
	defer exchange.Explain(&err, "read claimed flow runs")
	tenant, err := c.TenantID(ctx)
	if err != nil {
		return nil, err
	}
	wanted := func(r prefect.FlowRun) bool { return scope.Takes(r.Place) }
	runs, _, err = c.collect(ctx, wanted, listing{
		size: claimedPageSize, enough: maxObserved,
		page: func(ctx context.Context, at time.Time, size, offset int) ([][]row, error) {
			page, err := claimedRuns(ctx, c.wire, tenant, labelFilter(scope.Labels), size, offset)
			if err != nil {
				return nil, err
			}
			return [][]row{rowsOf(page.Claimed, at, claimedRunOf)}, nil
		},
	})
	return slices.DeleteFunc(runs, func(r prefect.FlowRun) bool { return r.Claim == nil }), err
}

// FlowRun reads one run as it is now; prefect.ErrNotFound when there is none.
func (c *Client) FlowRun(ctx context.Context, id string) (run prefect.FlowRun, err error) {
	defer exchange.Explain(&err, "read flow run %s", id)
	tenant, err := c.tenantOfRun(ctx, id)
	if err != nil {
		return run, err
	}
	return c.one(ctx, tenant, id, maxTasks)
}

// labelFilter is Prefect's label rule (prefect1 §3.1) as a comparison of
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

func retryUntil() string { return formatTime(time.Now().Add(-retryMargin)) }
