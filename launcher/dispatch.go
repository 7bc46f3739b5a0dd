package launcher

import (
	"context"
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// dispatch gives free workers what is to be done: first what is claimed already.
func (s *loop) dispatch(now time.Time) {
	s.ready = append(s.ready, s.waiting.take(now)...)
	if due := s.ahead.take(now); len(due) > 0 {
		// Their time is now; what is late is late anyway.
		s.pending = append(due, s.pending...)
	}
	for s.working < s.Concurrency {
		switch {
		case len(s.ready) > 0:
			e := s.ready[0]
			s.ready = s.ready[1:]
			s.begin(e)
		case now.Before(s.quietUntil):
			return
		case len(s.beats) > 0 && !now.Before(s.beatsFrom) && (s.beating == 0 || len(s.pending) == 0 && s.beating < max(1, s.Concurrency/4)):
			a := s.beats[0]
			s.beats = s.beats[1:]
			s.beginNew(a)
		case s.beginPending(now):
		default:
			if s.full && len(s.pending) == 0 {
				s.full, s.next[whatIsDue] = false, now // there is more where that came from
			}
			return
		}
	}
}

// beginPending begins the first action that may begin. What waits for Kubernetes
// holds up neither those that see to Jobs in trouble, which may be what fills the
// quota, nor those behind it.
func (s *loop) beginPending(now time.Time) bool {
	if len(s.pending) == 0 {
		return false
	}
	waiting := s.waiting.len() + len(s.ready)
	for _, waits := range s.repairing {
		if waits {
			waiting--
		}
	}
	creates, again := !now.Before(s.claimsFrom), false
	i := slices.IndexFunc(s.pending, func(a Action) bool {
		switch {
		case a.Kind == Resolve, a.Kind == Review:
			return true
		case s.repairsAnother(a):
			return creates && len(s.repairing) < maxRepairs*s.Concurrency
		case a.Kind == Repair:
			return creates
		}
		claims := creates && waiting < maxWaiting*s.Concurrency && s.pace.allows(s.claiming(now), now)
		stale := claims && s.looksAgain(a, now)
		again = again || stale
		return claims && !stale
	})
	if again && !s.asking[whatIsDue] {
		s.next[whatIsDue] = now
	}
	if i < 0 {
		return false
	}
	a := s.pending[i]
	s.begun++
	if i == 0 {
		s.pending = s.pending[1:] // thousands may follow
	} else {
		s.pending = slices.Delete(s.pending, i, i+1)
	}
	s.beginNew(a)
	return true
}

// looksAgain: the run was read too long ago to be claimed as it was, and others wait
// with it. Another look tells of all of them at the price of one, if it comes back
// while what it tells is fresh.
func (s *loop) looksAgain(a Action, now time.Time) bool {
	return age(a.Run.ReadAt, now) > fresh && len(s.pending) > 1 && s.dueTook < dueInTime && !s.polledEnough()
}

// heldUp is when a try that has not come to its claim is held up by others than
// Prefect: its template's server, or Kubernetes.
const heldUp = 500 * time.Millisecond

// claiming is how many tries claim a run or are about to.
func (s *loop) claiming(now time.Time) (n int) {
	for _, e := range s.hand {
		if stage := e.stage.Load(); e.claims && (stage == atClaim || stage == beforeClaim && now.Sub(e.began) < heldUp) {
			n++
		}
	}
	return n
}

func (s *loop) repairsAnother(a Action) bool {
	return a.Kind == Repair && a.Run.Claim != nil && a.Run.Claim.Launcher != s.Name
}

// beginNew begins an action unless its run is in hand. A plan never says so, but
// an action of the calendar may be older than the errand.
func (s *loop) beginNew(a Action) {
	if s.hand[a.Run.ID] == nil {
		if s.repairsAnother(a) {
			s.repairing[a.Run.ID] = false
		}
		s.begin(&errand{Action: a, returns: s.holds.failures[a.returnKey()]})
	}
}

func (s *loop) begin(e *errand) {
	s.working++
	if e.Kind == Heartbeat {
		s.beating++
	}
	e.claims = e.isDue() && !e.claimed
	e.stage.Store(beforeClaim)
	if s.repairing[e.Run.ID] {
		s.repairing[e.Run.ID] = false
	}
	e.began = time.Now()
	s.hand[e.Run.ID] = e
	s.metrics.inHand.Set(float64(len(s.hand)))
	s.workers.Go(func() error {
		s.outcomes <- s.perform(s.work, e)
		return nil
	})
}

// settle takes in what came of a try.
func (s *loop) settle(ctx context.Context, o outcome) {
	now := time.Now()
	s.working--
	if o.Kind == Heartbeat {
		s.beating--
		s.beatsFrom = o.began.Add(s.pace.stretch(now.Sub(o.began)))
	}
	o.claims = false
	if !o.sent.IsZero() {
		s.pace.learn(o.sent, o.heard, o.answered)
	}
	s.report(ctx, now, o)
	s.leaveAlone(ctx, now, max(o.quiet, prefect.RetryAfter(o.err)))
	switch {
	case o.blame == kubernetesAPI:
		s.kube.fail(ctx, now, o.err)
		s.claimsFrom = now.Add(backoff(s.kube.failures))
	case o.result == done && o.Kind != Heartbeat:
		s.kube.succeed(ctx, now)
		s.claimsFrom = time.Time{}
	}
	id := o.Run.ID
	if _, repairs := s.repairing[id]; repairs {
		s.repairing[id] = true
	}
	switch {
	case o.blame == jobTemplate:
		s.template.fail(ctx, now, o.err)
	case s.template.failures > 0 && o.job != nil && o.tries == 1 && !job.BringsTemplate(o.Run) && !s.trial.wary(false):
		s.template.succeed(ctx, now)
	}
	switch {
	case o.again.IsZero():
	case s.draining:
		o.last = true
		s.ready = append(s.ready, o.errand)
		return
	default:
		s.waiting.put(o.again, o.errand)
		return
	}
	delete(s.hand, id)
	delete(s.repairing, id)
	s.metrics.inHand.Set(float64(len(s.hand)))
	switch {
	case o.Kind != Heartbeat:
		s.settled[id] = now
	case o.result == done:
		s.beatAt[id] = now
	}
	s.holds.settle(now, o)
	if o.result == left && o.errand.claimed {
		s.left++
	}
}
