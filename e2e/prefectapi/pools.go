package prefectapi

import (
	"context"
	"net/http"
	"net/url"
)

// Pool is a work pool.
type Pool struct {
	ID               string  `json:"id,omitempty"`
	Name             string  `json:"name"`
	Type             string  `json:"type"`
	BaseJobTemplate  any     `json:"base_job_template,omitempty"`
	IsPaused         bool    `json:"is_paused"`
	ConcurrencyLimit *int    `json:"concurrency_limit"`
	Status           *string `json:"status,omitempty"`
	ActiveSlots      *int    `json:"active_slots,omitempty"`
}

// CreatePool makes a work pool of type kubernetes; a limit of 0 means none.
func (c *Client) CreatePool(ctx context.Context, name string, template any, limit int) error {
	pool := map[string]any{"name": name, "type": "kubernetes", "base_job_template": template}
	if limit > 0 {
		pool["concurrency_limit"] = limit
	}
	return c.call(ctx, http.MethodPost, "/work_pools/", pool, nil)
}

// Pool reads a work pool.
func (c *Client) Pool(ctx context.Context, name string) (Pool, error) {
	var p Pool
	err := c.call(ctx, http.MethodGet, "/work_pools/"+url.PathEscape(name), nil, &p)
	return p, err
}

// DeletePool deletes a work pool.
func (c *Client) DeletePool(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/work_pools/"+url.PathEscape(name), nil, nil)
}

// PausePool pauses a work pool, or resumes it.
func (c *Client) PausePool(ctx context.Context, name string, paused bool) error {
	return c.call(ctx, http.MethodPatch, "/work_pools/"+url.PathEscape(name), map[string]any{"is_paused": paused}, nil)
}

// LimitPool sets how many runs of a work pool there may be at once.
func (c *Client) LimitPool(ctx context.Context, name string, limit int) error {
	return c.call(ctx, http.MethodPatch, "/work_pools/"+url.PathEscape(name), map[string]any{"concurrency_limit": limit}, nil)
}

// CreateQueue makes a queue in a work pool.
func (c *Client) CreateQueue(ctx context.Context, pool, name string) error {
	return c.call(ctx, http.MethodPost, "/work_pools/"+url.PathEscape(pool)+"/queues", map[string]any{"name": name}, nil)
}

// PauseQueue pauses a queue of a work pool, or resumes it.
func (c *Client) PauseQueue(ctx context.Context, pool, queue string, paused bool) error {
	return c.call(ctx, http.MethodPatch, "/work_pools/"+url.PathEscape(pool)+"/queues/"+url.PathEscape(queue), map[string]any{"is_paused": paused}, nil)
}

// Workers are the names of what has sent a work pool heartbeats.
func (c *Client) Workers(ctx context.Context, pool string) ([]string, error) {
	var workers []struct{ Name string }
	err := c.call(ctx, http.MethodPost, "/work_pools/"+url.PathEscape(pool)+"/workers/filter", map[string]any{}, &workers)
	var names []string
	for _, w := range workers {
		names = append(names, w.Name)
	}
	return names, err
}
