package fake

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// pool is a work pool.
type pool struct {
	row
	Name        string          `json:"name"`
	Description *string         `json:"description"`
	Type        string          `json:"type"`
	Template    json.RawMessage `json:"base_job_template"`
	Paused      bool            `json:"is_paused"`
	Limit       *int            `json:"concurrency_limit"`
	Status      string          `json:"status"`
	Default     string          `json:"default_queue_id"`
	Storage     storage         `json:"storage_configuration"`
	Slots       *int            `json:"active_slots"`

	workers map[string]*worker
}

type storage struct {
	Upload  any `json:"bundle_upload_step"`
	Execute any `json:"bundle_execution_step"`
	Result  any `json:"default_result_storage_block_id"`
}

// queue is a work queue.
type queue struct {
	row
	Name        string  `json:"name"`
	Description *string `json:"description"`
	Paused      bool    `json:"is_paused"`
	Limit       *int    `json:"concurrency_limit"`
	Priority    int     `json:"priority"`
	PoolID      string  `json:"work_pool_id"`
	Filter      any     `json:"filter"`
	LastPolled  stamp   `json:"last_polled"`
	PoolName    string  `json:"work_pool_name"`
	Status      string  `json:"status"`
	Slots       *int    `json:"active_slots"`

	pool *pool
}

// The statuses of pools, queues and deployments. They decide nothing (prefect3 §1.3).
const (
	notReady = "NOT_READY"
	ready    = "READY"
	held     = "PAUSED"
)

func (s *store) addPool(name, kind string, template json.RawMessage, limit *int, paused bool) *pool {
	if len(template) == 0 {
		template = json.RawMessage("{}")
	}
	p := &pool{row: s.row(), Name: name, Type: kind, Template: template, Limit: limit, Paused: paused, Status: notReady, workers: map[string]*worker{}}
	if paused {
		p.Status = held
	}
	s.pools[name] = p
	text := "The work pool's default queue."
	q := s.addQueue(p, "default", 0, nil)
	q.Description, p.Default = &text, q.ID
	return p
}

// addQueue gives priority 0 the last place. Others make room.
func (s *store) addQueue(p *pool, name string, priority int, limit *int) *queue {
	none := ""
	q := &queue{row: s.row(), Name: name, Description: &none, Limit: limit, PoolID: p.ID, PoolName: p.Name, Status: notReady, pool: p}
	if priority == 0 {
		for _, other := range s.queuesOf(p) {
			priority = max(priority, other.Priority)
		}
		priority++
	}
	s.place(q, priority)
	s.queues[q.ID] = q
	return q
}

// place gives a queue its priority, which no other queue of the pool has.
func (s *store) place(q *queue, priority int) {
	taken := priority
	for _, other := range s.queuesOf(q.pool) {
		if other != q && other.Priority == taken {
			taken++
			other.Priority = taken
		}
	}
	q.Priority = priority
}

// queuesOf are a pool's queues by their priority.
func (s *store) queuesOf(p *pool) []*queue {
	var all []*queue
	for _, q := range s.queues {
		if q.pool == p {
			all = append(all, q)
		}
	}
	slices.SortFunc(all, func(a, b *queue) int { return cmp.Or(a.Priority-b.Priority, a.made-b.made) })
	return all
}

func (s *store) queueNamed(p *pool, name string) *queue {
	for _, q := range s.queues {
		if q.pool == p && q.Name == name {
			return q
		}
	}
	return nil
}

// taken counts the Pending and Running runs of each queue.
func (s *store) taken() map[*queue]int {
	slots := map[*queue]int{}
	for _, kind := range []string{pending, running} {
		for _, r := range s.byState[kind] {
			slots[r.queue]++
		}
	}
	return slots
}

// poolRow shows a pool. Only one with a limit says how many runs it has (prefect3 §1.2).
func (s *store) poolRow(p *pool, taken map[*queue]int) pool {
	out := *p
	if p.Limit != nil {
		n := 0
		for q, slots := range taken {
			if q != nil && q.pool == p {
				n += slots
			}
		}
		out.Slots = &n
	}
	return out
}

func queueRow(q *queue, taken map[*queue]int) queue {
	out := *q
	if q.Limit != nil {
		n := taken[q]
		out.Slots = &n
	}
	return out
}

func (a *API) pool(q *ask) (*pool, int, any) {
	name := q.PathValue("pool")
	if p := a.store.pools[name]; p != nil {
		return p, 0, nil
	}
	status, out := missing("Work pool %q not found.", name)
	return nil, status, out
}

func (a *API) readPool(q *ask) (int, any) {
	p, status, out := a.pool(q)
	if status != 0 {
		return status, out
	}
	return http.StatusOK, a.store.poolRow(p, a.store.taken())
}

func (a *API) createPool(q *ask) (int, any) {
	var in struct {
		Name     string          `json:"name"`
		Type     string          `json:"type"`
		Template json.RawMessage `json:"base_job_template"`
		Limit    *int            `json:"concurrency_limit"`
		Paused   bool            `json:"is_paused"`
		About    *string         `json:"description"`
	}
	if status, out := q.decode(&in); status != 0 {
		return status, out
	}
	switch {
	case strings.ContainsAny(in.Name, "/%&><") || in.Name == "":
		const pattern = "^[^/%&><]+$"
		return q.invalid(problem{
			Type: "string_pattern_mismatch", Loc: []any{"name"}, Msg: "String should match pattern '" + pattern + "'",
			Input: in.Name, Context: map[string]any{"pattern": pattern},
		})
	case strings.HasPrefix(strings.ToLower(in.Name), "prefect"):
		return http.StatusForbidden, refusal{Detail: "Work pools starting with 'Prefect' are reserved for internal use."}
	case a.store.pools[in.Name] != nil:
		return http.StatusConflict, refusal{Detail: "A work pool with this name already exists."}
	}
	p := a.store.addPool(in.Name, in.Type, in.Template, in.Limit, in.Paused)
	p.Description = in.About
	return http.StatusCreated, a.store.poolRow(p, nil)
}

// given is a member that may be left out, be null or have a value.
type given[T any] struct {
	Is    bool
	Value *T
}

// UnmarshalJSON notes that the member is there.
func (g *given[T]) UnmarshalJSON(text []byte) error {
	g.Is = true
	return json.Unmarshal(text, &g.Value)
}

func (a *API) changePool(q *ask) (int, any) {
	p, status, out := a.pool(q)
	if status != 0 {
		return status, out
	}
	var in struct {
		Template json.RawMessage `json:"base_job_template"`
		Limit    given[int]      `json:"concurrency_limit"`
		Paused   *bool           `json:"is_paused"`
		About    given[string]   `json:"description"`
	}
	if status, out = q.decode(&in); status != 0 {
		return status, out
	}
	if in.Template != nil {
		p.Template = in.Template
	}
	if in.Limit.Is {
		p.Limit = in.Limit.Value
	}
	if in.About.Is {
		p.Description = in.About.Value
	}
	if in.Paused != nil {
		a.store.pausePool(p, *in.Paused)
	}
	p.touch(a.store)
	if in.Template != nil || in.Limit.Is || in.About.Is { // a pause has a word of its own
		a.store.tellPool(p, "updated")
	}
	return http.StatusNoContent, nil
}

func (s *store) pausePool(p *pool, paused bool) {
	p.Paused, p.Status = paused, notReady
	if paused {
		p.Status = held
	} else if p.online() {
		p.Status = ready
	}
	s.tellPool(p, word(p.Status))
}

// word is a status in the name of an event.
func word(status string) string { return strings.ReplaceAll(strings.ToLower(status), "_", "-") }

func (a *API) deletePool(q *ask) (int, any) {
	p, status, out := a.pool(q)
	if status != 0 {
		return status, out
	}
	a.store.removePool(p)
	return http.StatusNoContent, nil
}

// removePool leaves runs and deployments without a queue.
func (s *store) removePool(p *pool) {
	delete(s.pools, p.Name)
	for _, of := range s.queuesOf(p) {
		delete(s.queues, of.ID)
		for _, r := range s.runs {
			if r.queue == of {
				r.queue = nil
			}
		}
		for _, d := range s.deployments {
			if d.queue == of {
				d.queue = nil
			}
		}
	}
}

func (a *API) listPools(q *ask) (int, any) {
	var in struct {
		page
		Pools poolFilter `json:"work_pools"`
	}
	if status, out := q.decodePage(&in, &in.page); status != 0 {
		return status, out
	}
	taken, rows := a.store.taken(), []pool{}
	for _, p := range slices.SortedFunc(maps.Values(a.store.pools), func(a, b *pool) int { return cmp.Compare(a.Name, b.Name) }) {
		if in.Pools.takes(p) {
			rows = append(rows, a.store.poolRow(p, taken))
		}
	}
	return http.StatusOK, paged(rows, in.page)
}
