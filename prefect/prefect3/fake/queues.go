package fake

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
)

func (a *API) queue(q *ask) (*queue, int, any) {
	p, status, out := a.pool(q)
	if status != 0 {
		return nil, status, out
	}
	name := q.PathValue("queue")
	if found := a.store.queueNamed(p, name); found != nil {
		return found, 0, nil
	}
	status, out = missing("Work pool queue '%s/%s' not found.", p.Name, name)
	return nil, status, out
}

func (a *API) readQueue(q *ask) (int, any) {
	of, status, out := a.queue(q)
	if status != 0 {
		return status, out
	}
	return http.StatusOK, queueRow(of, a.store.taken())
}

func (a *API) createQueue(q *ask) (int, any) {
	p, status, out := a.pool(q)
	if status != 0 {
		return status, out
	}
	var in struct {
		Name     string  `json:"name"`
		Priority int     `json:"priority"`
		Limit    *int    `json:"concurrency_limit"`
		Paused   bool    `json:"is_paused"`
		About    *string `json:"description"`
	}
	if status, out = q.decode(&in); status != 0 {
		return status, out
	}
	if a.store.queueNamed(p, in.Name) != nil {
		return http.StatusConflict, refusal{Detail: "A work queue with this name already exists in work pool '" + p.Name + "'."}
	}
	of := a.store.addQueue(p, in.Name, in.Priority, in.Limit)
	a.store.pauseQueue(of, in.Paused)
	if in.About != nil {
		of.Description = in.About
	}
	return http.StatusCreated, queueRow(of, nil)
}

func (s *store) pauseQueue(q *queue, paused bool) {
	was := q.Status
	q.Paused = paused
	switch {
	case paused:
		q.Status = held
	case q.Status == held:
		q.Status = notReady
	}
	if q.Status != was {
		s.tellQueue(q)
	}
}

func (a *API) changeQueue(q *ask) (int, any) {
	of, status, out := a.queue(q)
	if status != 0 {
		return status, out
	}
	var in struct {
		Priority *int       `json:"priority"`
		Limit    given[int] `json:"concurrency_limit"`
		Paused   *bool      `json:"is_paused"`
	}
	if status, out = q.decode(&in); status != 0 {
		return status, out
	}
	if in.Priority != nil {
		a.store.place(of, *in.Priority)
	}
	if in.Limit.Is {
		of.Limit = in.Limit.Value
	}
	if in.Paused != nil {
		a.store.pauseQueue(of, *in.Paused)
	}
	of.touch(a.store)
	return http.StatusNoContent, nil
}

func (a *API) listPoolQueues(q *ask) (int, any) {
	p, status, out := a.pool(q)
	if status != 0 {
		return status, out
	}
	var in struct {
		page
		Queues queueFilter `json:"work_queues"`
	}
	if status, out = q.decodePage(&in, &in.page); status != 0 {
		return status, out
	}
	return http.StatusOK, paged(a.queueRows(a.store.queuesOf(p), in.Queues), in.page)
}

// listQueues lists the queues of all pools. It knows no filter of pools, and ignores one
// (prefect3 §6.3).
func (a *API) listQueues(q *ask) (int, any) {
	var in struct {
		page
		Queues queueFilter `json:"work_queues"`
	}
	if status, out := q.decodePage(&in, &in.page); status != 0 {
		return status, out
	}
	all := slices.SortedFunc(maps.Values(a.store.queues), func(a, b *queue) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.made-b.made)
	})
	return http.StatusOK, paged(a.queueRows(all, in.Queues), in.page)
}

func (a *API) queueRows(all []*queue, f queueFilter) []queue {
	taken, rows := a.store.taken(), []queue{}
	for _, q := range all {
		if f.takes(q) {
			rows = append(rows, queueRow(q, taken))
		}
	}
	return rows
}

// occupied answers who has a pool's slots, with so many runs of each queue.
func (a *API) occupied(q *ask) (int, any) {
	p, status, out := a.pool(q)
	if status != 0 {
		return status, out
	}
	in := struct {
		Runs *int `json:"flow_run_limit"`
		page
	}{}
	if status, out = q.decodePage(&in, &in.page); status != 0 {
		return status, out
	}
	most := 10
	if in.Runs != nil {
		most = *in.Runs
	}
	total, queues := 0, []any{}
	for _, of := range a.store.queuesOf(p) {
		n, runs := a.occupants(of, most)
		total += n
		queues = append(queues, map[string]any{
			"queue_id": of.ID, "queue_name": of.Name, "active_slots": n, "concurrency_limit": of.Limit, "flow_runs": runs, "flow_run_count": n,
		})
	}
	return http.StatusOK, map[string]any{
		"active_slots": total, "concurrency_limit": p.Limit, "queues": queues, "count": len(queues), "limit": pageLimit, "pages": 1, "page": 1,
	}
}

func (a *API) occupants(of *queue, most int) (int, []any) {
	n, runs := 0, []any{}
	for _, r := range a.store.inState(pending, running) {
		if r.queue != of {
			continue
		}
		if n++; len(runs) < most {
			runs = append(runs, map[string]any{
				"id": r.ID, "name": r.Name, "state_type": r.state.Type, "state_name": r.state.Name, "start_time": r.StartTime,
				"state_timestamp": r.state.Timestamp, "time_in_current_state": a.store.clock().Sub(r.state.Timestamp.Time).Seconds(),
			})
		}
	}
	return n, runs
}
