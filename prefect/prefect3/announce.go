package prefect3

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

const (
	// announceEvery is the time between two heartbeats for a work pool. The pool shows as
	// not ready after three of them (prefect3 §1.3).
	announceEvery = 5 * time.Minute
	// announceApart bounds the heartbeats of all pools together: with many pools each one
	// comes more rarely.
	announceApart = 15 * time.Second
	// maxBeats are sent at once.
	maxBeats = 100
)

// beats remember when each work pool got its last heartbeat.
type beats struct {
	mu     sync.Mutex
	last   map[string]time.Time
	listed map[string]time.Time // when the pools of a scope were listed, by its key
}

// Announce makes the UI show the scope's work pools as ready, and us as their worker. It
// sends what is due, so that it may be called as often as one likes. A pool that is ready
// already waits for its first heartbeat: somebody else has just sent one.
func (c *Client) Announce(ctx context.Context, scope prefect.Scope) (err error) {
	defer exchange.Explain(&err, "announce the worker")
	now := time.Now()
	if !c.beats.isDue(scope, now, c.announceEvery) {
		return nil
	}
	of := map[string]any{"type": anyOf(workerType)}
	if len(scope.Pools) > 0 {
		of["name"] = anyOf(scope.Pools...)
	}
	pools, err := all[poolRow](ctx, c, "pools", "/work_pools/filter", map[string]any{"work_pools": of})
	if err != nil {
		return err
	}
	interval := max(c.announceEvery, announceApart*time.Duration(len(pools)))
	var failed []error
	for _, name := range c.beats.choose(pools, now, interval) {
		err := c.heartbeat(ctx, name, interval)
		switch {
		case errors.Is(err, prefect.ErrAuth) || ctx.Err() != nil:
			return err
		case errors.Is(err, prefect.ErrNotFound): // it was deleted meanwhile
		case err != nil:
			failed = append(failed, err)
		default:
			c.beats.sent(name, now)
		}
	}
	if len(failed) == 0 {
		c.beats.done(scope, now)
	}
	return errors.Join(failed...)
}

func (c *Client) heartbeat(ctx context.Context, pool string, interval time.Duration) error {
	body, err := newCall("heartbeat", http.MethodPost, poolPath(pool)+"/workers/heartbeat", map[string]any{
		"name": c.workerName, "heartbeat_interval_seconds": int(interval.Seconds()),
	})
	if err != nil {
		return err
	}
	return c.wire.send(ctx, body, nil)
}

// poolPath is the path of a work pool, whose name may have spaces and umlauts.
func poolPath(name string) string { return "/work_pools/" + url.PathEscape(name) }

// isDue reports whether the pools of a scope should be looked at.
func (b *beats) isDue(scope prefect.Scope, now time.Time, every time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.listed[scope.Key()]
	return !ok || now.Sub(at) >= every*9/10 // timers are not exact
}

func (b *beats) done(scope prefect.Scope, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listed == nil {
		b.listed = map[string]time.Time{}
	}
	b.listed[scope.Key()] = now
}

func (b *beats) sent(pool string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last[pool] = now
}

// choose are the pools whose heartbeat is due.
func (b *beats) choose(pools []poolRow, now time.Time, interval time.Duration) (due []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last == nil {
		b.last = map[string]time.Time{}
	}
	for _, p := range pools {
		at, known := b.last[p.Name]
		switch {
		case !known && p.Status == "READY":
			b.last[p.Name] = now
		case (!known || now.Sub(at) >= interval*9/10) && len(due) < maxBeats:
			due = append(due, p.Name)
		}
	}
	return due
}
