package launcher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// applyPoll takes the answer of a poll and plans anew. The new plan replaces all actions
// that have not begun.
func (s *loop) applyPoll(ctx context.Context, k poll) error {
	now := time.Now()
	s.asking[k.question] = false
	switch k.question {
	case whatIsClaimed:
		s.next[k.question] = now.Add(max(claimedInterval, claimedShare*k.took))
	case howJobsAre:
		s.next[k.question] = now.Add(max(superviseInterval, claimedShare*k.took))
	case whatIsDue:
		s.dueTook = k.took
		if k.err == nil {
			s.pace.poll(k.took)
		}
		if next := k.read.Add(s.pace.stretch(k.took)); next.After(s.next[k.question]) {
			s.next[k.question] = next
		}
	}
	if s.poked.After(k.read) && s.poked.Before(s.next[k.question]) {
		s.next[k.question] = s.poked // the poke came after the question
	}
	if s.draining {
		return nil
	}
	if k.err != nil {
		return s.unanswered(ctx, now, k)
	}
	s.heard = true
	s.asks[k.question].succeed(ctx, now)
	switch k.question {
	case whatIsClaimed:
		s.claimed, s.claimedRead = k.claimed, k.read
		for _, run := range k.claimed {
			if f := s.inFlight[run.ID]; f != nil {
				f.show(run)
			}
		}
	case howJobsAre:
		s.jobRuns, s.jobRunsRead = s.ours(k.jobs), k.read
	default:
		s.dueRuns, s.more = k.due.Runs, k.due.More
		if len(s.dueRuns)+len(s.backoffs.runs(now)) > 0 {
			s.busyAt = now
		}
	}
	s.replan(ctx, now)
	return nil
}

// ours are the runs whose Jobs this launcher supervises.
func (s *loop) ours(jobs prefect.Supervision) prefect.Supervision {
	here := s.claims()
	others := func(r prefect.JobRun) bool { return !s.Scope.Takes(r.Place) || !here.AreHere(r.Claim) }
	return prefect.Supervision{Ending: slices.DeleteFunc(jobs.Ending, others), Silent: slices.DeleteFunc(jobs.Silent, others)}
}

// unanswered keeps trying, unless Prefect refuses our key from the start.
func (s *loop) unanswered(ctx context.Context, now time.Time, k poll) error {
	if !s.heard && errors.Is(k.err, prefect.ErrAuth) {
		return fmt.Errorf("check %s, and that they belong to the API this launcher talks to: %w", s.Credentials, k.err)
	}
	s.asks[k.question].fail(ctx, now, k.err)
	if k.question == whatIsDue {
		s.next[k.question], s.busyAt = now.Add(s.pauseAfter(s.asks[k.question].inARow)), now
	}
	s.leaveAlone(ctx, now, prefect.RetryAfter(k.err))
	return nil
}

// leaveAlone begins nothing for the time that Prefect asked for. Actions in flight have
// had their own answer.
func (s *loop) leaveAlone(ctx context.Context, now time.Time, wish time.Duration) {
	until := now.Add(wish)
	if wish <= 0 || !until.After(s.quietUntil) {
		return
	}
	if !now.Before(s.quietUntil) {
		s.log.WarnContext(ctx, "Prefect asks to be left alone; nothing is claimed meanwhile", "duration", wish)
	}
	s.quietUntil = until
	s.pending, s.heartbeats, s.ahead, s.full = nil, nil, nil, false
}

func (s *loop) replan(ctx context.Context, now time.Time) {
	w := World{
		Now: now, NamespaceUID: s.jobs.NamespaceUID(), Further: s.jobs.Further(), Due: s.dueRuns, Claimed: s.claimed,
		Present: map[string]jobs.Presence{}, Troubled: s.jobs.Troubled(s.Rules, s.jobRuns), SupervisedRead: s.jobRunsRead, Busy: map[string]bool{},
		Settled: s.settled, NotBefore: s.backoffs.until, KeepBy: s.keepBy, Rotation: s.rotation,
	}
	for id := range s.inFlight {
		w.Busy[id] = true
	}
	for _, runs := range [][]prefect.FlowRun{s.dueRuns, s.claimed} {
		for _, run := range runs {
			w.Present[run.ID] = s.jobs.Known(run.ID)
		}
	}
	plan := NewPlan(s.Options, w)
	s.rotation++
	s.pending, s.heartbeats = nil, nil
	for _, a := range plan.Actions {
		if a.Kind == Heartbeat {
			s.heartbeats = append(s.heartbeats, a)
		} else {
			s.pending = append(s.pending, a)
		}
	}
	s.ahead = plan.Ahead
	s.full = s.more && len(s.pending) > 0
	if len(plan.Actions)+len(plan.Ahead) > 0 {
		s.log.DebugContext(ctx, "planned", "actions", len(plan.Actions), "ahead", len(plan.Ahead), "due", len(s.dueRuns), "claimed", len(s.claimed))
	}
	s.forget(now)
}

// forget drops entries that every answer from now on is newer than.
func (s *loop) forget(now time.Time) {
	for id, t := range s.settled {
		if now.Sub(t) > 3*pollTimeout && t.Before(s.claimedRead) {
			delete(s.settled, id)
		}
	}
	s.backoffs.forget(now)
	maps.DeleteFunc(s.keepBy, func(_ string, by time.Time) bool { return now.After(by) })
}
