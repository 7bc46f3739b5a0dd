package prefect3

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// aheadFor is how old the pools and queues may be that decide about runs whose time has
	// not come.
	aheadFor = 15 * time.Second
	// freeFor is the same for runs that are due, as long as nothing is paused or limited: in a
	// burst a server has better things to do than to say so with each look.
	freeFor = 3 * time.Second
	// overdueAfter is how late a run is before we ask whether its deployment lets it go: of
	// a deployment with a limit of 0 nothing else tells (prefect3 §1.7).
	overdueAfter = 10 * time.Second
)

// looks are what the last looks at the API brought, for those that may be older.
type looks struct {
	mu     sync.Mutex
	around surroundings
	read   time.Time
	begun  begunLook
}

// surroundings reads what may hold the runs back: their pools and queues, and the
// deployments of those that wait for a slot or are overdue. It asks nothing if there are no
// runs.
func (c *Client) surroundings(ctx context.Context, waiting []*runRow) (surroundings, error) {
	s := surroundings{pools: map[string]poolRow{}, queues: map[string]queueRow{}, deployments: map[string]deploymentRow{}}
	if len(waiting) == 0 {
		return s, nil
	}
	now := time.Now()
	pools, queues, deployments := map[string]bool{}, map[string]string{}, map[string]bool{}
	isDue := false
	for _, r := range waiting {
		pools[r.Pool], queues[queueKey(r.place())] = true, r.QueueID
		isDue = isDue || !r.due().After(now)
		if r.Deployment != "" && (r.StateName == nameAwaitsSlot || now.Sub(r.due()) > overdueAfter) {
			deployments[r.Deployment] = true
		}
	}
	if known, ok := c.looks.known(pools, queues, deployments, isDue, now); ok {
		return known, nil
	}
	if err := c.readPools(ctx, s, slices.Collect(maps.Keys(pools))); err != nil {
		return s, err
	}
	if err := c.readQueues(ctx, s, slices.Collect(maps.Values(queues))); err != nil {
		return s, err
	}
	if len(deployments) > 0 {
		if err := c.readLimits(ctx, s, slices.Collect(maps.Keys(deployments))); err != nil {
			return s, err
		}
	}
	limits, asked := s.limits()
	for key, l := range limits {
		l.read = now
		limits[key] = l
	}
	c.slots.learn(limits, asked)
	c.looks.keep(s, now)
	return s, nil
}

// known are the surroundings of the last look, if they will do.
func (l *looks) known(pools map[string]bool, queues map[string]string, deployments map[string]bool, isDue bool, now time.Time) (surroundings, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if age := now.Sub(l.read); age > aheadFor || isDue && (age > freeFor || l.around.mayHold()) {
		return surroundings{}, false
	}
	for name := range pools {
		if _, ok := l.around.pools[poolKey(placeIn(name))]; !ok {
			return surroundings{}, false
		}
	}
	for key := range queues {
		if _, ok := l.around.queues[key]; !ok {
			return surroundings{}, false
		}
	}
	for id := range deployments {
		if _, ok := l.around.deployments[id]; !ok && isDue {
			return surroundings{}, false
		}
	}
	return l.around, true
}

// stir has the next look read which runs are being cancelled.
func (l *looks) stir() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun.next, l.begun.rest = time.Time{}, time.Time{}
}

func (l *looks) keep(s surroundings, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.around, l.read = s, now
}

func (c *Client) readPools(ctx context.Context, s surroundings, names []string) error {
	for some := range slices.Chunk(names, pageSize) {
		at := time.Now()
		rows, err := all[json.RawMessage](ctx, c, "pools", "/work_pools/filter", map[string]any{"work_pools": map[string]any{"name": anyOf(some...)}})
		if err != nil {
			return err
		}
		for _, raw := range rows {
			var p poolRow
			if err := json.Unmarshal(raw, &p); err != nil {
				c.log.DebugContext(ctx, "skipped a work pool", "err", err)
				continue
			}
			if p.Limit != nil && p.Slots == nil {
				if p.Slots, err = c.countSlots(ctx, filter{Pools: map[string]any{"name": anyOf(p.Name)}}); err != nil {
					return err
				}
			}
			s.pools[poolKey(placeIn(p.Name))] = p
			c.lookups.learn(poolPath(p.Name), raw, at)
		}
	}
	return nil
}

func (c *Client) readQueues(ctx context.Context, s surroundings, ids []string) error {
	ids = slices.DeleteFunc(ids, func(id string) bool { return id == "" })
	for some := range slices.Chunk(ids, pageSize) {
		rows, err := all[queueRow](ctx, c, "queues", "/work_queues/filter", map[string]any{"work_queues": map[string]any{"id": anyOf(some...)}})
		if err != nil {
			return err
		}
		for _, q := range rows {
			if q.Limit != nil && q.Slots == nil {
				if q.Slots, err = c.countSlots(ctx, filter{Queues: map[string]any{"id": anyOf(q.ID)}}); err != nil {
					return err
				}
			}
			at := placeIn(q.Pool)
			at.Queue = q.Name
			s.queues[queueKey(at)] = q
		}
	}
	return nil
}

// countSlots counts for servers that do not, up to Prefect 2.
func (c *Client) countSlots(ctx context.Context, f filter) (*int, error) {
	f.Runs = map[string]any{"state": map[string]any{"type": anyOf(typePending, typeRunning)}}
	return c.count(ctx, f)
}

func (c *Client) count(ctx context.Context, f filter) (*int, error) {
	body := map[string]any{"flow_runs": f.Runs}
	if f.Pools != nil {
		body["work_pools"] = f.Pools
	}
	if f.Queues != nil {
		body["work_pool_queues"] = f.Queues
	}
	var n int
	err := c.wire.post(ctx, "count", "/flow_runs/count", body, &n)
	return &n, err
}

func (c *Client) readLimits(ctx context.Context, s surroundings, ids []string) error {
	for some := range slices.Chunk(ids, pageSize) {
		rows, err := all[deploymentRow](ctx, c, "deployments", "/deployments/filter", map[string]any{"deployments": map[string]any{"id": anyOf(some...)}})
		if err != nil {
			return err
		}
		for _, d := range rows {
			s.deployments[d.ID] = d
		}
	}
	return nil
}
