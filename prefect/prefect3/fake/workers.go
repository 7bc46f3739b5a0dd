package fake

import (
	"encoding/json"
	"net/http"
	"time"
)

// worker is a worker as its heartbeats make it known.
type worker struct {
	row
	Name      string `json:"name"`
	PoolID    string `json:"work_pool_id"`
	Heartbeat stamp  `json:"last_heartbeat_time"`
	Interval  *int   `json:"heartbeat_interval_seconds"`
	Status    string `json:"status"`
}

// online reports whether a pool has a worker whose heartbeat has not expired.
func (p *pool) online() bool {
	for _, w := range p.workers {
		if w.Status == "ONLINE" {
			return true
		}
	}
	return false
}

// expires is when the server gives a worker up.
func (w *worker) expires() time.Time {
	interval := 30
	if w.Interval != nil {
		interval = *w.Interval
	}
	return w.Heartbeat.Add(3 * time.Duration(interval) * time.Second)
}

func (a *API) heartbeat(q *ask) (int, any) {
	p, status, out := a.pool(q)
	if status != 0 {
		return status, out
	}
	var in struct {
		Name     string      `json:"name"`
		Interval json.Number `json:"heartbeat_interval_seconds"`
		ReturnID bool        `json:"return_id"`
	}
	if status, out = q.decode(&in); status != 0 {
		return status, out
	}
	interval, err := in.Interval.Int64()
	if err != nil && !a.version.since(withPrefect3) {
		fraction, _ := in.Interval.Float64()
		interval, err = int64(fraction), nil
	}
	if err != nil && in.Interval != "" {
		value, _ := in.Interval.Float64()
		return q.invalid(problem{
			Type: "int_from_float", Loc: []any{"heartbeat_interval_seconds"}, Input: value,
			Msg: "Input should be a valid integer, got a number with a fractional part",
		})
	}
	s := a.store
	w := p.workers[in.Name]
	if w == nil {
		w = &worker{row: s.row(), Name: in.Name, PoolID: p.ID}
		p.workers[in.Name] = w
	}
	w.Heartbeat, w.Status = stamp{q.at}, "ONLINE"
	if in.Interval != "" {
		seconds := int(interval)
		w.Interval = &seconds
	}
	if p.Status == notReady {
		p.Status = ready
		s.tellPool(p, "ready")
	}
	if a.options.Cloud && in.ReturnID {
		return http.StatusOK, w.ID
	}
	return http.StatusNoContent, nil
}

func (a *API) listWorkers(q *ask) (int, any) {
	p, status, out := a.pool(q)
	if status != 0 {
		return status, out
	}
	rows := inOrder(p.workers)
	if rows == nil {
		rows = []*worker{}
	}
	return http.StatusOK, rows
}

func (a *API) deleteWorker(q *ask) (int, any) {
	p, status, out := a.pool(q)
	if status != 0 {
		return status, out
	}
	delete(p.workers, q.PathValue("worker"))
	return http.StatusNoContent, nil
}
