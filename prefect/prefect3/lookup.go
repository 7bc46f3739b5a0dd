package prefect3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/recipe"
)

const (
	// lookupFor is how long an answer may be used for runs that are older than it.
	lookupFor = 15 * time.Second
	// lookupShort is how long one may be used for runs that are newer than the answer.
	lookupShort = 2 * time.Second
	// lookupsKept at most; then the memory starts again.
	lookupsKept = 500
)

// Inputs are all that a run's Job is made of. What several runs share is read once for
// those that were made before it was read: a burst of one deployment's runs costs four
// reads, and no run misses a change that was made before it.
func (c *Client) Inputs(ctx context.Context, run prefect.FlowRun) (in recipe.Inputs, err error) {
	defer exchange.Explain(&err, "read what the Job of flow run %s is made of", run.ID)
	row, ok := recipe.Of(run)
	if !ok {
		read, err := c.readRun(ctx, run.ID)
		if err != nil {
			return in, err
		}
		row = read.recipe()
	}
	in.FlowRun = row.Row
	if row.Pool == "" {
		return in, &prefect.AuthorError{Message: "This flow run is in no work pool, so no Job can be made for it. Give it, or its deployment, a work pool."}
	}
	if in.WorkPool, err = c.lookup(ctx, "pool", poolPath(row.Pool), row.Created); err != nil {
		return in, err
	}
	if in.Flow, err = c.lookup(ctx, "flow", "/flows/"+url.PathEscape(row.Flow), time.Time{}); err != nil {
		return in, err
	}
	if row.Deployment != "" {
		in.Deployment, err = c.lookup(ctx, "deployment", "/deployments/"+url.PathEscape(row.Deployment), row.Created)
		if errors.Is(err, prefect.ErrNotFound) {
			return in, &prefect.AuthorError{Message: "The deployment of this flow run no longer exists, so its Job cannot be made. Create the deployment, and then the run, again.", Err: err}
		}
		if err != nil {
			return in, err
		}
	}
	in.ServerVersion, err = c.ServerVersion(ctx)
	return in, err
}

// Block is the data of a block document as JSON, whose objects keep their order;
// prefect.ErrNotFound if there is none.
func (c *Client) Block(ctx context.Context, slug, name string) (data any, err error) {
	defer exchange.Explain(&err, "read block %s/%s", slug, name)
	return c.block(ctx, "/block_types/slug/"+url.PathEscape(slug)+"/block_documents/name/"+url.PathEscape(name))
}

// BlockByID is the same by the document's id.
func (c *Client) BlockByID(ctx context.Context, id string) (data any, err error) {
	defer exchange.Explain(&err, "read block document %s", id)
	if !isUUID(id) {
		return nil, prefect.ErrNotFound
	}
	return c.block(ctx, "/block_documents/"+id)
}

func (c *Client) block(ctx context.Context, path string) (any, error) {
	var block struct {
		Data json.RawMessage `json:"data"`
	}
	// Without it a secret reads as stars (prefect3 §1.6).
	raw, err := c.lookup(ctx, "block", path+"?include_secrets=true", time.Now())
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &block); err != nil {
		return nil, fmt.Errorf("the block document is not understood: %w", err)
	}
	return block.Data, nil
}

// Variable is a variable's value as JSON; ok is false if there is none of that name.
func (c *Client) Variable(ctx context.Context, name string) (value any, ok bool, err error) {
	defer exchange.Explain(&err, "read variable %s", name)
	raw, err := c.lookup(ctx, "variable", "/variables/name/"+url.PathEscape(name), time.Now())
	if errors.Is(err, prefect.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	var variable struct {
		Value json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(raw, &variable); err != nil {
		return nil, false, fmt.Errorf("the variable is not understood: %w", err)
	}
	return variable.Value, true, nil
}

// lookups remember answers by path.
type lookups struct {
	mu  sync.Mutex
	all map[string]*looked
}

// looked is an answer. Who wants it holds turn, so that it is asked for once.
type looked struct {
	turn chan struct{}

	mu  sync.Mutex
	raw json.RawMessage
	at  time.Time
}

// entry is the answer of a path, perhaps without content.
func (l *lookups) entry(path string) *looked {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil || len(l.all) >= lookupsKept && l.all[path] == nil {
		l.all = map[string]*looked{}
	}
	if l.all[path] == nil {
		l.all[path] = &looked{turn: make(chan struct{}, 1)}
	}
	return l.all[path]
}

// learn takes in an answer that came by another way.
func (l *lookups) learn(path string, raw json.RawMessage, at time.Time) {
	e := l.entry(path)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.raw, e.at = raw, at
}

// good is the answer, if it is as new as something made at a time needs it. The clocks may
// differ by lookupShort.
func (e *looked) good(made, now time.Time) (json.RawMessage, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	age := now.Sub(e.at)
	return e.raw, e.raw != nil && (age < lookupShort || age < lookupFor && made.Before(e.at.Add(-lookupShort)))
}

// lookup reads a path, or remembers what it answered.
func (c *Client) lookup(ctx context.Context, op, path string, made time.Time) (json.RawMessage, error) {
	e := c.lookups.entry(path)
	if raw, ok := e.good(made, time.Now()); ok {
		return raw, nil
	}
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if raw, ok := e.good(made, time.Now()); ok {
		return raw, nil
	}
	at := time.Now()
	var raw json.RawMessage
	if err := c.wire.get(ctx, op, path, &raw); err != nil {
		return nil, err
	}
	c.lookups.learn(path, raw, at)
	return raw, nil
}
