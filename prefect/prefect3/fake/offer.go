package fake

import (
	"cmp"
	"net/http"
	"slices"
	"time"
)

// offered is one run of an offer.
type offered struct {
	Pool  string     `json:"work_pool_id"`
	Queue string     `json:"work_queue_id"`
	Run   offeredRun `json:"flow_run"`
}

// offeredRun leaves out what an offer does not have, and before 3.9 also the state.
type offeredRun struct {
	run
	NoPoolID   *struct{} `json:"work_pool_id,omitempty"`
	NoPoolName *struct{} `json:"work_pool_name,omitempty"`
}

// offer answers the runs that a worker may claim now (prefect3 §1.5). Only here do pauses
// and limits count.
func (a *API) offer(q *ask) (int, any) {
	p, status, out := a.pool(q)
	if status != 0 {
		return status, out
	}
	var in struct {
		page
		Queues []string `json:"work_queue_names"`
		Before stamp    `json:"scheduled_before"`
		After  stamp    `json:"scheduled_after"`
	}
	if status, out = q.decodePage(&in, &in.page); status != 0 {
		return status, out
	}
	var from []*queue
	for _, name := range in.Queues {
		of := a.store.queueNamed(p, name)
		if of == nil {
			return missing("Work pool queue '%s/%s' not found.", p.Name, name)
		}
		from = append(from, of)
	}
	if len(in.Queues) == 0 {
		from = a.store.queuesOf(p)
	}
	most := pageLimit
	if in.Limit != nil {
		most = *in.Limit
	}
	runs := a.store.offer(p, from, in.After.Time, in.Before.Time, most)
	a.store.polled(from)
	rows := []offered{}
	for _, r := range runs {
		row := a.store.show(r)
		if !a.version.since(withStateInOffers) {
			row.State = nil
		}
		if r.DeploymentID == nil || !a.version.since(withStateInOffers) {
			row.QueueName = nil
		}
		rows = append(rows, offered{Pool: p.ID, Queue: r.queue.ID, Run: offeredRun{run: row}})
	}
	return http.StatusOK, rows
}

// offer selects the runs that are due in some of a pool's queues.
func (s *store) offer(p *pool, from []*queue, after, before time.Time, most int) []*run {
	if p.Paused {
		return nil
	}
	var due []*run
	for _, r := range s.byState[scheduled] {
		switch {
		case !slices.Contains(from, r.queue), r.queue.Paused:
		case !before.IsZero() && r.Next.After(before), !after.IsZero() && r.Next.Before(after):
		case r.Policy.RetryType != nil && s.version.hidesRetries(): // its own pod has it
		default:
			due = append(due, r)
		}
	}
	slices.SortFunc(due, func(a, b *run) int {
		return cmp.Or(a.queue.Priority-b.queue.Priority, a.Next.Compare(b.Next.Time), a.made-b.made)
	})
	taken := s.taken()
	room, rooms := most, map[*queue]int{}
	if p.Limit != nil {
		all := *p.Limit
		for of, n := range taken {
			if of.inPool() == p {
				all -= n
			}
		}
		room = min(room, all)
	}
	for _, of := range from {
		rooms[of] = most
		if of.Limit != nil {
			rooms[of] = *of.Limit - taken[of]
		}
	}
	var given []*run
	for _, r := range due {
		if room > 0 && rooms[r.queue] > 0 {
			given = append(given, r)
			room--
			rooms[r.queue]--
		}
	}
	return given
}

// polled is what an offer writes: for each queue, and for each of its deployments.
func (s *store) polled(from []*queue) {
	now := stamp{s.clock()}
	for _, of := range from {
		of.LastPolled = now
		if !of.Paused && of.Status != ready {
			of.Status = ready
			s.tellQueue(of)
		}
	}
	for _, d := range s.deployments {
		if slices.Contains(from, d.queue) {
			d.LastPolled, d.Status = now, ready
		}
	}
}
