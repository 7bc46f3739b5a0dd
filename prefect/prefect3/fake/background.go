package fake

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// The server's services and when they act (prefect3 §1.3, §2.4, §5.3 and §6.2).
const (
	lateAfter     = 15 * time.Second
	lateEvery     = 5 * time.Second
	leasesEvery   = 15 * time.Second
	workersEvery  = 15 * time.Second
	polledWithin  = 60 * time.Second
	cancelAfter   = 300 * time.Second
	cancelEvery   = 30 * time.Second
	scheduleEvery = time.Minute
	scheduleSoon  = 5 * time.Second
	scheduleAhead = time.Hour
	scheduleLeast = 3
	scheduleMost  = 100
)

// timers are when the services acted last.
type timers struct{ late, leases, workers, cancels time.Time }

// catchUp does what the services would have done by now, and returns the time.
func (s *store) catchUp() time.Time {
	now := s.clock()
	if at, due := s.tick(&s.timers.leases, leasesEvery, now); due {
		s.sweepLeases(at)
	}
	s.schedule(now)
	if at, due := s.tick(&s.timers.late, lateEvery, now); due {
		s.markLate(at)
	}
	if at, due := s.tick(&s.timers.workers, workersEvery, now); due {
		s.missWorkers(at)
	}
	if at, due := s.tick(&s.timers.cancels, cancelEvery, now); due {
		s.giveUpCancels(at)
		s.giveUpPauses(at)
	}
	return now
}

// tick returns the last moment at which a service acted, and whether that is new.
func (s *store) tick(last *time.Time, every time.Duration, now time.Time) (time.Time, bool) {
	at := s.started.Add(now.Sub(s.started).Truncate(every))
	if !at.After(*last) {
		return at, false
	}
	*last = at
	return at, true
}

// markLate names the runs that are overdue.
func (s *store) markLate(at time.Time) {
	for _, r := range s.inState(scheduled) {
		if r.state.Name == "Scheduled" && !r.Next.Add(lateAfter).After(at) {
			p := proposal{Type: scheduled, Name: "Late"}
			p.Details.ScheduledTime = r.Next
			s.propose(r, p, false, "")
		}
	}
}

// missWorkers notices which workers, queues and deployments have not been heard of.
func (s *store) missWorkers(at time.Time) {
	for _, q := range s.queues {
		if q.Status == ready && q.LastPolled.Add(polledWithin).Before(at) {
			q.Status = notReady
		}
	}
	for _, d := range s.deployments {
		if d.Status == ready && d.LastPolled.Add(polledWithin).Before(at) {
			d.Status = notReady
		}
	}
	for _, p := range inOrder(s.pools) {
		for _, w := range p.workers {
			if w.expires().Before(at) {
				w.Status = "OFFLINE"
			}
		}
		if p.Status == ready && !p.online() {
			p.Status = notReady
			s.tellPool(p, "not-ready")
		}
	}
}

// giveUpCancels ends what nobody ended.
func (s *store) giveUpCancels(at time.Time) {
	if !s.version.since(withCancelTimeout) {
		return
	}
	for _, r := range s.inState(cancelling) {
		if !r.state.Timestamp.Add(cancelAfter).After(at) {
			message := "Flow run cancellation timed out; marked this flow run as Cancelled."
			s.propose(r, proposal{Type: cancelled, Message: &message}, true, "")
		}
	}
}

// giveUpPauses fails what nobody resumed.
func (s *store) giveUpPauses(at time.Time) {
	for _, r := range s.inState(paused) {
		if until := r.state.Details.PauseTimeout; !until.IsZero() && until.Before(at) {
			message := "The flow was paused and never resumed."
			s.propose(r, proposal{Type: failed, Message: &message}, true, "")
		}
	}
}

// schedule is one of a deployment's. The stand-in knows intervals, and a cron line of every
// minute or every few minutes.
type schedule struct {
	ID       string          `json:"id"`
	Active   *bool           `json:"active"`
	Schedule json.RawMessage `json:"schedule"`
	until    stamp
}

func (c schedule) every() time.Duration {
	var in struct {
		Interval float64 `json:"interval"`
		Cron     string  `json:"cron"`
	}
	if json.Unmarshal(c.Schedule, &in) != nil {
		return 0
	}
	minutes := 0
	if in.Cron == "* * * * *" {
		minutes = 1
	} else if strings.HasPrefix(in.Cron, "*/") {
		fmt.Sscanf(in.Cron, "*/%d * * * *", &minutes) //nolint:errcheck // zero is none
	}
	return time.Duration(in.Interval*float64(time.Second)) + time.Duration(minutes)*time.Minute
}

// reschedule gives a deployment new schedules, which the server looks at soon.
func (d *deployment) reschedule(s *store, schedules []schedule) {
	s.deleteScheduled(d)
	d.Schedules = []schedule{}
	for _, c := range schedules {
		c.ID, c.until = cmp.Or(c.ID, newID()), stamp{}
		if c.Active == nil {
			yes := true
			c.Active = &yes
		}
		d.Schedules = append(d.Schedules, c)
	}
	d.nextLook = stamp{s.clock().Add(scheduleSoon)}
}

// schedule inserts the runs that are due within the hour. It tells nobody (prefect3 §6.2).
func (s *store) schedule(now time.Time) {
	due := map[string]*deployment{}
	for id, d := range s.deployments {
		if len(d.Schedules) > 0 && !d.Paused && !d.nextLook.IsZero() && !d.nextLook.After(now) {
			due[id] = d
		}
	}
	for _, d := range inOrder(due) {
		looked := d.nextLook.Add(now.Sub(d.nextLook.Time).Truncate(scheduleEvery))
		d.nextLook = stamp{looked.Add(scheduleEvery)}
		for i := range d.Schedules {
			if c := &d.Schedules[i]; *c.Active && c.every() > 0 {
				s.scheduleAhead(d, c, looked)
			}
		}
	}
}

// scheduleAhead inserts a schedule's runs for an hour from a moment.
func (s *store) scheduleAhead(d *deployment, c *schedule, from time.Time) {
	every := c.every()
	waiting := 0
	for _, r := range s.byState[scheduled] {
		if r.deployment == d && r.AutoScheduled && r.Next.After(from) {
			waiting++
		}
	}
	next := c.until.Add(every)
	if c.until.IsZero() || next.Before(from) {
		next = from.Truncate(every).Add(every)
	}
	for ; waiting < scheduleMost && (waiting < scheduleLeast || !next.After(from.Add(scheduleAhead))); waiting++ {
		p := proposal{Type: scheduled}
		p.Details.ScheduledTime = stamp{next}
		r := s.makeRun(newRun{State: &p, FlowID: d.FlowID}, d, d.queue)
		r.AutoScheduled = true
		c.until = stamp{next}
		next = next.Add(every)
	}
}
