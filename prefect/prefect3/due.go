package prefect3

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

const (
	// slotAhead spans the time that the server sets runs which found no slot: they may be
	// claimed before it (prefect3 §1.7).
	slotAhead = 35 * time.Second
	// claimedEvery is how often the scaler reads which runs are claimed or being cancelled,
	// and restingEvery while there are none and nothing is due.
	claimedEvery = 5 * time.Second
	restingEvery = 30 * time.Second
	// claimedShare: after such a read that took t the next one waits this many t.
	claimedShare = 20
)

func placeIn(pool string) prefect.Place { return prefect.Place{Pool: pool} }

// waiting is a filter for runs that may start before a time, the earliest first.
func waiting(scope prefect.Scope, until time.Time) filter {
	f := in(scope, typeScheduled)
	f.Runs["next_scheduled_start_time"] = map[string]any{"before_": formatTime(until)}
	f.Sort = "NEXT_SCHEDULED_START_TIME_ASC"
	return f
}

// claimable drops the rows that no launcher may take: those whose own pod waits for the
// retry (prefect3 §1.5), and those that wait for a slot that they will not be given before
// until.
func claimable(rows []*runRow, until time.Time, except []string) []*runRow {
	return slices.DeleteFunc(rows, func(r *runRow) bool {
		return r.Policy.RetryType == inProcess || r.due().After(until) || slices.Contains(except, r.ID)
	})
}

// Due returns the runs a launcher could claim, in the order in which the server would offer
// them.
func (c *Client) Due(ctx context.Context, q prefect.DueQuery) (found prefect.DueRuns, err error) {
	defer exchange.Explain(&err, "read due flow runs")
	if q.Limit <= 0 {
		return found, nil
	}
	until := q.Until
	if slots := time.Now().Add(slotAhead); slots.After(until) {
		until = slots
	}
	var free []*runRow
	// Runs without a slot may fill whole pages (prefect3 §6.3).
	rows, more, err := c.list(ctx, listing{op: "due", filter: waiting(q.Scope, until), pages: maxPages, recipes: true, isEnough: func(rows []*runRow) (isEnough bool, err error) {
		free, err = c.freeOf(ctx, claimable(slices.Clone(rows), q.Until, q.Except))
		return len(free) >= q.Limit || rows[len(rows)-1].Next.After(q.Until), err
	}})
	if err != nil {
		return found, err
	}
	if !more {
		if free, err = c.freeOf(ctx, claimable(rows, q.Until, q.Except)); err != nil {
			return found, err
		}
	}
	found.More = len(free) >= q.Limit || more && (len(rows) == 0 || !rows[len(rows)-1].Next.After(q.Until))
	for _, r := range free[:min(len(free), q.Limit)] {
		found.Runs = append(found.Runs, r.run())
	}
	return found, nil
}

func (c *Client) freeOf(ctx context.Context, rows []*runRow) ([]*runRow, error) {
	around, err := c.surroundings(ctx, rows)
	if err != nil {
		return nil, err
	}
	free, _ := hold(rows, around)
	return free, nil
}

// Observe counts the runs that wait, in one look at all work pools of our type: those due
// before until, those that pauses and limits keep back, and those that our launchers have
// claimed and no pod has started, and those that are being cancelled. The last two may be
// some seconds older.
func (c *Client) Observe(ctx context.Context, until time.Time) (o prefect.Observation, err error) {
	defer exchange.Explain(&err, "observe due flow runs")
	now := time.Now()
	horizon := now.Add(until.Sub(now) / 2)
	rows, more, err := c.list(ctx, listing{op: "observe", filter: waiting(prefect.Scope{}, until), pages: maxPages, isEnough: func(rows []*runRow) (bool, error) {
		return rows[len(rows)-1].Next.After(horizon), nil
	}})
	if err != nil {
		return o, err
	}
	isBeyond := len(rows) > 0 && rows[len(rows)-1].Next.After(horizon)
	rows = claimable(rows, until, nil)
	around, err := c.surroundings(ctx, rows)
	if err != nil {
		return o, err
	}
	free, held := hold(rows, around)
	o.Held = held
	waits := map[string]bool{}
	for _, r := range rows {
		waits[r.ID] = true
	}
	for _, r := range free {
		o.Due = append(o.Due, prefect.DueRun{ID: r.ID, Place: r.place(), Due: r.due()})
	}
	slices.SortStableFunc(o.Due, func(a, b prefect.DueRun) int { return a.Due.Compare(b.Due) })
	if more && !isBeyond {
		if o.Truncated, err = c.hidesDemand(ctx, until, rows, free, around); err != nil {
			return o, err
		}
	}
	c.holds.Store(len(held) > 0)
	last, err := c.begunNow(ctx, now, len(rows) > 0)
	if err != nil {
		return o, err
	}
	o.Truncated, o.Ending = o.Truncated || last.isCut, last.ending
	for _, r := range last.claimed {
		if !waits[r.ID] {
			o.Claimed = append(o.Claimed, r)
		}
	}
	return o, nil
}

// hidesDemand reports whether some of the runs that wait beyond the rows of a look may be
// demand that the look does not show. They are not in queues that have runs to launch
// anyway, nor in those that take none.
func (c *Client) hidesDemand(ctx context.Context, until time.Time, rows, free []*runRow, around surroundings) (bool, error) {
	shown := map[string]bool{}
	for _, r := range free {
		shown[r.QueueID] = true
	}
	for _, r := range rows {
		pool, queue := around.pools[poolKey(r.place())], around.queues[queueKey(r.place())]
		if pool.Paused || queue.Paused || isFull(pool.Limit, pool.Slots, 0) || isFull(queue.Limit, queue.Slots, 0) {
			shown[r.QueueID] = true
		}
	}
	f := waiting(prefect.Scope{}, until)
	all, err := c.count(ctx, f)
	if err != nil {
		return false, err
	}
	f.Queues = map[string]any{"id": anyOf(slices.Collect(maps.Keys(shown))...)}
	known, err := c.count(ctx, f)
	return *all > *known, err
}

// begunLook is the last read of the runs that are claimed or being cancelled.
type begunLook struct {
	claimed []prefect.ClaimedRun
	ending  []prefect.JobRun
	isCut   bool
	next    time.Time // when to read them again
	rest    time.Time // and when if nothing is due
}

// begunNow are those runs, read again if their time has come.
func (c *Client) begunNow(ctx context.Context, now time.Time, isBusy bool) (look begunLook, err error) {
	c.looks.mu.Lock()
	last := c.looks.begun
	c.looks.mu.Unlock()
	if now.Before(last.next) || !isBusy && now.Before(last.rest) {
		return last, nil
	}
	rows, isCut, err := c.begun(ctx, prefect.Scope{}, typePending, typeCancelling)
	if err != nil {
		return look, err
	}
	look = begunLook{isCut: isCut, next: now.Add(max(claimedEvery, claimedShare*time.Since(now)))}
	for _, r := range wanting(rows) {
		run := r.run()
		look.claimed = append(look.claimed, prefect.ClaimedRun{ID: r.ID, Place: run.Place, Claim: *run.Claim, KeepBy: run.KeepBy, KeepFor: keepFor})
	}
	q := supervising{Client: c}
	for _, r := range rows {
		if r.StateType != typeCancelling || r.isOthers() {
			continue
		}
		run, err := q.jobRun(ctx, r)
		if err != nil {
			return look, err
		}
		look.ending = append(look.ending, run)
	}
	if len(look.claimed)+len(look.ending) == 0 && !isBusy {
		look.rest = now.Add(restingEvery)
	}
	c.looks.mu.Lock()
	defer c.looks.mu.Unlock()
	c.looks.begun = look
	return look, nil
}

// begun are the runs of a scope in these states, with claims that were overwritten, without
// those of ours that want nothing: in a long burst they are thousands.
func (c *Client) begun(ctx context.Context, scope prefect.Scope, types ...string) (rows []*runRow, isCut bool, err error) {
	f := in(scope, types...)
	f.Sort = "EXPECTED_START_TIME_ASC"
	rows, isCut, err = c.list(ctx, listing{op: "claimed", filter: f, pages: maxRunPages, isWanted: func(r *runRow) bool { return !r.isSettled() }})
	if err == nil {
		err = c.recoverClaims(ctx, rows...)
	}
	return rows, isCut, err
}

// wanting are the runs with our claim that want something of us, the oldest claim first:
// their Job, or that somebody keeps their lease.
func wanting(rows []*runRow) (all []*runRow) {
	for _, r := range rows {
		if claim, _ := r.claim(); r.StateType == typePending && claim != nil && !r.isSettled() {
			all = append(all, r)
		}
	}
	slices.SortStableFunc(all, func(a, b *runRow) int { return a.State.Timestamp.Compare(b.State.Timestamp.Time) })
	return all
}

// Claimed returns the runs in the scope that carry our claim and that no pod has started,
// oldest claim first. Those whose Job is known to Prefect are among them only while they
// need a sign of life.
func (c *Client) Claimed(ctx context.Context, scope prefect.Scope) (runs []prefect.FlowRun, err error) {
	defer exchange.Explain(&err, "read claimed flow runs")
	rows, _, err := c.begun(ctx, scope, typePending)
	for _, r := range wanting(rows) {
		run := r.run()
		run.Recipe = nil // it would be an empty one
		runs = append(runs, run)
	}
	return runs, err
}
