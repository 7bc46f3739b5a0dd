package prefect3

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

// WorkPool is a work pool for people and for trials.
type WorkPool struct {
	Name, Type string
	Paused     bool
	Limit      *int
	// Row is the pool as the API returns it, with its base job template.
	Row json.RawMessage
}

// WorkPools are the pools with these names, whatever their type; without names, all of the
// type that we serve. Names that nobody has given a pool are left out.
func (c *Client) WorkPools(ctx context.Context, names ...string) (pools []WorkPool, err error) {
	defer exchange.Explain(&err, "read the work pools")
	of := map[string]any{"type": anyOf(workerType)}
	if len(names) > 0 {
		of = map[string]any{"name": anyOf(names...)}
	}
	rows, err := all[json.RawMessage](ctx, c, "pools", "/work_pools/filter", map[string]any{"work_pools": of})
	for _, raw := range rows {
		var row struct {
			poolRow
			Type string `json:"type"`
		}
		if err := json.Unmarshal(raw, &row); err != nil {
			c.log.DebugContext(ctx, "skipped a work pool", "err", err)
			continue
		}
		pools = append(pools, WorkPool{Name: row.Name, Type: row.Type, Paused: row.Paused, Limit: row.Limit, Row: raw})
	}
	return pools, err
}

// Transport reaches the API as the client does, without its credentials.
func (c *Client) Transport() http.RoundTripper { return c.wire.Through() }
