package launcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// startLook asks Prefect, beside the loop, when it is time.
func (s *loop) startLook(ctx context.Context, now time.Time) error {
	if s.draining || s.polledEnough() || now.Before(s.quietUntil) {
		return nil
	}
	var ask []question
	for q := range questions {
		if !s.asking[q] && !now.Before(s.next[q]) {
			ask = append(ask, q)
		}
	}
	if len(ask) == 0 {
		return nil
	}
	if synced, err := s.jobs.ready(); !synced {
		// Without the Jobs nothing can be decided, and without the namespace's UID
		// nobody's claim be told from ours.
		if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
			return fmt.Errorf("%s: %w", advice(err, s.Namespace), err)
		}
		for _, q := range ask {
			s.next[q] = now.Add(syncInterval)
		}
		s.busyAt = now
		return nil
	}
	due := prefect.DueQuery{
		Labels: s.Labels, Until: now.Add(s.Lookahead), Limit: s.dueLimit(), Except: s.holds.runs(now),
		Namespace: s.Namespace, NamespaceUID: s.jobs.namespaceUID(),
	}
	for _, q := range ask {
		s.asking[q] = true
		if q == whatIsDue {
			s.full, s.begun = false, 0
			s.polls++
			// The interval begins with the request, so it is what Prefect sees.
			s.next[q] = now.Add(spread(s.PollInterval))
		}
		s.workers.Go(func() error {
			s.looks <- s.observe(ctx, q, due)
			return nil
		})
	}
	return nil
}

// dueLimit is how many due runs the next look fetches: those that can be begun
// until the look after it, with some to spare because others take of them too,
// and all there may be once nearly all that the last one brought are begun.
func (s *loop) dueLimit() int {
	most := s.Options.dueLimit()
	if len(s.pending) <= s.begun {
		return most
	}
	return min(most, 4*max(s.begun, s.Concurrency))
}

func (s *loop) polledEnough() bool { return s.MaxPolls > 0 && s.polls >= s.MaxPolls }

// learn takes in what a look brought and plans anew. What was planned before and
// is not begun gives way: the newer plan knows better.
func (s *loop) learn(ctx context.Context, k look) error {
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
			s.pace.glance(k.took)
		}
		if next := k.read.Add(s.pace.stretch(k.took)); next.After(s.next[k.question]) {
			s.next[k.question] = next
		}
	}
	if s.poked.After(k.read) && s.poked.Before(s.next[k.question]) {
		s.next[k.question] = s.poked // whoever poked knows more than was told
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
			if e := s.hand[run.ID]; e != nil {
				e.show(run)
			}
		}
	case howJobsAre:
		s.jobRuns, s.jobRunsRead = s.ours(k.jobs), k.read
	default:
		s.due, s.more = k.due.Runs, k.due.More
		if len(s.due)+len(s.holds.runs(now)) > 0 {
			s.busyAt = now
		}
	}
	s.replan(ctx, now)
	return nil
}

// ours are the runs whose Jobs are for us to see to.
func (s *loop) ours(jobs prefect.Supervision) prefect.Supervision {
	others := func(r prefect.JobRun) bool {
		return !prefect.LabelsMatch(s.Labels, r.Labels) || !r.Claim.IsIn(s.Namespace, s.jobs.namespaceUID())
	}
	return prefect.Supervision{Ending: slices.DeleteFunc(jobs.Ending, others), Silent: slices.DeleteFunc(jobs.Silent, others)}
}

// unanswered goes on trying, unless Prefect refuses our key from the start.
func (s *loop) unanswered(ctx context.Context, now time.Time, k look) error {
	if !s.heard && errors.Is(k.err, prefect.ErrAuth) {
		return fmt.Errorf("check the key and the tenant (PREFECT__CLOUD__API_KEY, PREFECT__CLOUD__TENANT_ID) and that they belong to the API this launcher talks to: %w", k.err)
	}
	s.asks[k.question].fail(ctx, now, k.err)
	if k.question == whatIsDue {
		s.next[k.question], s.busyAt = now.Add(backoff(s.asks[k.question].failures)), now
	}
	s.leaveAlone(ctx, now, prefect.RetryAfter(k.err))
	return nil
}

// leaveAlone keeps everything from Prefect that is not begun. What was planned is
// looked at again afterwards; errands in hand have had their own answer.
func (s *loop) leaveAlone(ctx context.Context, now time.Time, wish time.Duration) {
	until := now.Add(wish)
	if wish <= 0 || !until.After(s.quietUntil) {
		return
	}
	if !now.Before(s.quietUntil) {
		s.log.WarnContext(ctx, "Prefect asks to be left alone; nothing is claimed meanwhile", "duration", wish)
	}
	s.quietUntil = until
	s.pending, s.beats, s.full = nil, nil, false
	s.ahead.clear()
}

func (s *loop) replan(ctx context.Context, now time.Time) {
	w := World{
		Now: now, NamespaceUID: s.jobs.namespaceUID(), Due: s.due, Claimed: s.claimed,
		Present: map[string]Presence{}, Troubled: s.jobs.troubled(s.Rules, s.jobRuns), SupervisedRead: s.jobRunsRead, Busy: map[string]bool{},
		Settled: s.settled, NotBefore: s.holds.until, Beats: s.beatAt, Turn: s.turn,
	}
	for id := range s.hand {
		w.Busy[id] = true
	}
	for _, runs := range [][]prefect.FlowRun{s.due, s.claimed} {
		for _, run := range runs {
			w.Present[run.ID] = s.jobs.known(run.ID)
		}
	}
	plan := NewPlan(s.Options, w)
	s.turn++
	s.pending, s.beats = nil, nil
	for _, a := range plan.Actions {
		if a.Kind == Heartbeat {
			s.beats = append(s.beats, a)
		} else {
			s.pending = append(s.pending, a)
		}
	}
	s.ahead.clear()
	for _, a := range plan.Ahead {
		s.ahead.put(a.Run.Due(), a)
	}
	s.full = s.more && len(s.pending) > 0
	if len(plan.Actions)+len(plan.Ahead) > 0 {
		s.log.DebugContext(ctx, "planned", "actions", len(plan.Actions), "ahead", len(plan.Ahead), "due", len(s.due), "claimed", len(s.claimed))
	}
	s.forget(now)
}

// forget drops what no reading can be older than any more.
func (s *loop) forget(now time.Time) {
	for id, t := range s.settled {
		if now.Sub(t) > 3*lookTimeout && t.Before(s.claimedRead) {
			delete(s.settled, id)
		}
	}
	s.holds.forget(now)
	for id, t := range s.beatAt {
		if now.Sub(t) > 2*beatInterval {
			delete(s.beatAt, id)
		}
	}
}
