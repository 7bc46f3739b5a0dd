package prefect3

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// poolRow is a work pool, as far as it holds runs back.
type poolRow struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Paused bool   `json:"is_paused"`
	Limit  *int   `json:"concurrency_limit"`
	// Slots are taken; the server counts them for pools with a limit.
	Slots *int `json:"active_slots"`
}

// queueRow is a work queue, as far as it holds runs back. Priority 1 comes first.
type queueRow struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Pool     string `json:"work_pool_name"`
	Paused   bool   `json:"is_paused"`
	Limit    *int   `json:"concurrency_limit"`
	Slots    *int   `json:"active_slots"`
	Priority int    `json:"priority"`
}

// deploymentRow is a deployment, as far as it holds runs back.
type deploymentRow struct {
	ID      string `json:"id"`
	Options struct {
		Strategy string `json:"collision_strategy"`
	} `json:"concurrency_options"`
	Global *struct {
		Active bool `json:"active"`
		Limit  int  `json:"limit"`
		Slots  int  `json:"active_slots"`
	} `json:"global_concurrency_limit"`
}

// surroundings are what holds runs back: pools and queues by their places' keys,
// deployments by id. What is missing holds nothing back.
type surroundings struct {
	pools       map[string]poolRow
	queues      map[string]queueRow
	deployments map[string]deploymentRow
}

// mayHold reports whether anything is paused or limited.
func (s surroundings) mayHold() bool {
	for _, p := range s.pools {
		if p.Paused || p.Limit != nil {
			return true
		}
	}
	for _, q := range s.queues {
		if q.Paused || q.Limit != nil {
			return true
		}
	}
	for _, d := range s.deployments {
		if d.Global != nil {
			return true
		}
	}
	return false
}

func (s surroundings) priority(r *runRow) int { return s.queues[queueKey(r.place())].Priority }

// inOrder compares by the server's order: first the priority of the queue, then the time.
func (s surroundings) inOrder(a, b *runRow) int {
	return cmp.Or(cmp.Compare(s.priority(a), s.priority(b)), a.due().Compare(b.due()), cmp.Compare(a.ID, b.ID))
}

// hold parts waiting runs into those that a launcher could claim, in the server's order,
// and those that pauses and limits keep back (prefect3 §6.3). Of a limited pool, queue or
// deployment the first runs in that order get the free slots.
//
// A run whose deployment cancels what it has no slot for is not kept back: its claim
// cancels it.
func hold(waiting []*runRow, s surroundings) (free []*runRow, held []prefect.HeldRun) {
	given := map[string]int{}
	for _, r := range slices.SortedStableFunc(slices.Values(waiting), s.inOrder) {
		inPool, inQueue, ofDeployment := poolKey(r.place()), queueKey(r.place()), r.Deployment
		pool, queue, deployment := s.pools[inPool], s.queues[inQueue], s.deployments[ofDeployment]
		why := ""
		switch {
		case pool.Paused:
			why = fmt.Sprintf("work pool %s is paused", r.Pool)
		case queue.Paused:
			why = fmt.Sprintf("work queue %s of work pool %s is paused", r.Queue, r.Pool)
		case deployment.isFull(given[ofDeployment]):
			why = fmt.Sprintf("its deployment's concurrency limit %d has no free slot", deployment.Global.Limit)
			if !deployment.Global.Active {
				why = "its deployment's concurrency limit is not active"
			}
		case isFull(pool.Limit, pool.Slots, given[inPool]):
			why = fmt.Sprintf("work pool %s limit %d reached", r.Pool, *pool.Limit)
		case isFull(queue.Limit, queue.Slots, given[inQueue]):
			why = fmt.Sprintf("work queue %s limit %d reached", r.Queue, *queue.Limit)
		}
		if why != "" {
			held = append(held, prefect.HeldRun{ID: r.ID, Place: r.place(), Why: why})
			continue
		}
		for _, key := range []string{inPool, inQueue, ofDeployment} {
			given[key]++
		}
		free = append(free, r)
	}
	return free, held
}

func isFull(limit, slots *int, given int) bool {
	if limit == nil {
		return false
	}
	if slots != nil {
		given += *slots
	}
	return given >= *limit
}

func (d deploymentRow) isFull(given int) bool {
	g := d.Global
	return g != nil && d.Options.Strategy != "CANCEL_NEW" && (!g.Active || g.Slots+given >= g.Limit)
}

// limits are what the surroundings limit, for the count of our own claims.
func (s surroundings) limits() (limits map[string]seenLimit, asked []string) {
	limits = map[string]seenLimit{}
	add := func(key, what string, limit, slots *int) {
		asked = append(asked, key)
		if limit == nil {
			return
		}
		l := seenLimit{what: what, limit: *limit}
		if slots != nil {
			l.taken = *slots
		}
		limits[key] = l
	}
	for key, p := range s.pools {
		add(key, "work pool "+p.Name, p.Limit, p.Slots)
	}
	for key, q := range s.queues {
		add(key, "work queue "+q.Name, q.Limit, q.Slots)
	}
	return limits, asked
}
