package prefect3

import (
	"context"
	"encoding/json"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// pageSize is the most that a server answers at once (prefect3 §1.5).
	pageSize = 200
	// maxPages of due runs are read in one look.
	maxPages = 5
	// maxRunPages of other lists are read; what is beyond is seen once those are done.
	maxRunPages = 25
	// maxIDs go into one filter: servers take 512 KB of parameters.
	maxIDs = 5000
)

// filter is a body of a list: which runs, in which pools and queues.
type filter struct {
	Pools  map[string]any `json:"work_pools,omitempty"`
	Queues map[string]any `json:"work_pool_queues,omitempty"`
	Runs   map[string]any `json:"flow_runs"`
	Sort   string         `json:"sort,omitempty"`
	Limit  int            `json:"limit"`
	Offset int            `json:"offset"`
}

func anyOf(values ...string) map[string]any { return map[string]any{"any_": values} }

// in is a filter for the runs of a scope that are in one of the types of states.
func in(scope prefect.Scope, types ...string) filter {
	f := filter{Pools: map[string]any{"type": anyOf(workerType)}, Runs: map[string]any{"state": map[string]any{"type": anyOf(types...)}}}
	if len(scope.Pools) > 0 {
		f.Pools["name"] = anyOf(scope.Pools...)
	}
	if len(scope.Queues) > 0 {
		f.Queues = map[string]any{"name": anyOf(scope.Queues...)}
	}
	return f
}

// listing is a list of flow runs to read.
type listing struct {
	// op is what metrics and errors call it.
	op string
	filter
	// pages of pageSize rows are read at most.
	pages int
	// recipes has the rows keep what Jobs are made of, half of what thousands of them take.
	recipes bool
	// isWanted picks the rows to keep; nil keeps all.
	isWanted func(*runRow) bool
	// isEnough ends the list early, given the rows so far; nil reads on. Its error is that of
	// the list.
	isEnough func([]*runRow) (bool, error)
}

// list reads a list page by page. It halves pages that are too large. A run that is on two
// pages, because others have left the list meanwhile, is in the answer once. More is set if
// there are more.
func (c *Client) list(ctx context.Context, l listing) (rows []*runRow, more bool, err error) {
	seen := map[string]bool{}
	l.Limit = pageSize
	for n := 0; ; {
		at := time.Now()
		var raw []json.RawMessage
		err := c.wire.post(ctx, l.op, "/flow_runs/filter", l.filter, &raw)
		if answerTooLarge.is(err) && l.Limit > 1 {
			l.Limit /= 2
			continue
		}
		if err != nil {
			return nil, false, err
		}
		for _, text := range raw {
			r, err := rowOf(text, at)
			if !l.recipes {
				r.raw = nil
			}
			switch {
			case err != nil:
				c.log.DebugContext(ctx, "skipped a flow run", "flow_run", r.ID, "err", err)
			case l.isWanted != nil && !l.isWanted(r):
			case !seen[r.ID]:
				seen[r.ID] = true
				rows = append(rows, r)
			}
		}
		n++
		l.Offset += l.Limit
		if len(raw) < l.Limit {
			return rows, false, nil
		}
		if l.isEnough != nil && len(rows) > 0 {
			if isEnough, err := l.isEnough(rows); isEnough || err != nil {
				return rows, true, err
			}
		}
		if n >= l.pages*pageSize/l.Limit {
			return rows, true, nil
		}
	}
}

// all reads the rows of other lists, whose bodies have a limit and an offset.
func all[T any](ctx context.Context, c *Client, op, path string, body map[string]any) ([]T, error) {
	var rows []T
	body["limit"] = pageSize
	for {
		body["offset"] = len(rows)
		var page []T
		if err := c.wire.post(ctx, op, path, body, &page); err != nil {
			return nil, err
		}
		rows = append(rows, page...)
		if len(page) < pageSize {
			return rows, nil
		}
	}
}
