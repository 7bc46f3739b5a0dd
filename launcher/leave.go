package launcher

import (
	"context"
	"slices"
	"time"
)

// drain stops claiming. Runs that were not begun are simply left, errands that
// wait get one more try.
func (s *loop) drain(ctx context.Context) {
	s.stopping.Store(true)
	s.draining, s.drainBy = true, time.Now().Add(s.DrainTimeout)
	s.pending, s.beats = nil, nil
	s.ahead.clear()
	s.ready = append(s.ready, s.waiting.takeAll()...)
	for _, e := range s.ready {
		e.last = true
	}
	s.log.InfoContext(ctx, "draining: nothing more is claimed", "in_hand", len(s.hand))
}

// over is why to leave now; empty when there is no reason yet.
func (s *loop) over(now time.Time) string {
	if s.draining {
		if !now.Before(s.drainBy) {
			s.stopWork()
			s.left += len(s.ready)
			s.ready = nil
		}
		if s.working == 0 && len(s.ready) == 0 {
			return "drained"
		}
		return ""
	}
	if s.isBusy() || now.Before(s.quietUntil) {
		s.busyAt = now
	}
	switch {
	case s.isBusy() || s.working > 0 || slices.Contains(s.asking[:], true):
		return ""
	case s.polledEnough():
		return "polled enough"
	case now.Sub(s.busyAt) >= s.IdleTimeout:
		return "idle"
	}
	return ""
}

// isBusy: heartbeats do not count, or a run whose pod waits for days would keep a
// launcher for days.
func (s *loop) isBusy() bool {
	return len(s.pending)+len(s.ready)+s.ahead.len()+s.waiting.len() > 0 || s.working > s.beating
}

// nextEvent is when to turn again if nothing is reported before.
func (s *loop) nextEvent(now time.Time) time.Time {
	next := now.Add(minTurn)
	at := func(t time.Time, matters bool) {
		if matters && t.Before(next) {
			next = t
		}
	}
	if s.draining {
		at(s.drainBy, now.Before(s.drainBy))
		return next
	}
	for q := range questions {
		next := s.next[q]
		if next.Before(s.quietUntil) {
			next = s.quietUntil
		}
		at(next, !s.asking[q] && !s.polledEnough())
	}
	at(s.busyAt.Add(s.IdleTimeout), !slices.Contains(s.asking[:], true) && s.working == 0 && !s.isBusy())
	at(s.claimsFrom, len(s.pending) > 0 && now.Before(s.claimsFrom))
	at(s.beatsFrom, len(s.beats) > 0 && now.Before(s.beatsFrom))
	for _, e := range s.hand {
		freed := e.began.Add(heldUp)
		at(freed, len(s.pending) > 0 && e.claims && e.stage.Load() == beforeClaim && now.Before(freed))
	}
	at(s.pace.from, len(s.pending) > 0 && now.Before(s.pace.from))
	if t, ok := s.ahead.next(); ok {
		at(t, true)
	}
	if t, ok := s.waiting.next(); ok {
		at(t, true)
	}
	return next
}
