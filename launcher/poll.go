package launcher

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/prefect-keda/prefect-keda/admission"
	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// pollTimeout bounds one poll; a long backlog is read in pages.
	pollTimeout = time.Minute
	// claimedInterval between two polls of the claims. They matter only when a Job has
	// been missing for ClaimGrace or a heartbeat is due.
	claimedInterval = 5 * time.Second
	// superviseInterval between two polls of the runs of Jobs. The watch tells at once of
	// everything that Kubernetes knows.
	superviseInterval = 30 * time.Second
	// claimedShare: after such a poll that took t the next one waits this many t.
	claimedShare = 10
	// inTime is how many per cent of the age at which its runs must be read again a poll may
	// take, for some of them to be claimed unread.
	inTime = 80
	// duePerWorker runs per slot are polled at once: enough until the next poll, and not
	// so many that they grow stale before they are claimed.
	duePerWorker = 16
)

// question is what Prefect is asked.
type question int

const (
	whatIsDue question = iota
	whatIsClaimed
	howJobsAre // which of their runs should end or are silent
	questions
)

// poll is one question and its answer.
type poll struct {
	question question
	due      prefect.DueRuns
	claimed  []prefect.FlowRun
	jobs     prefect.Supervision
	// read is when Prefect was asked; took is how long the answer took.
	read time.Time
	took time.Duration
	err  error
}

// dueLimit is how many due runs one poll fetches at most.
func (o Options) dueLimit() int { return max(100, duePerWorker*o.Concurrency) }

// startPolls starts the polls whose time has come.
func (s *loop) startPolls(ctx context.Context, now time.Time) error {
	if s.draining || s.polledEnough() || now.Before(s.quietUntil) {
		return nil
	}
	var ask []question
	if until := s.suppliedUntil(now); until.After(s.next[whatIsDue]) {
		s.next[whatIsDue] = until
	}
	for q := range questions {
		if !s.asking[q] && !now.Before(s.next[q]) {
			ask = append(ask, q)
		}
	}
	if len(ask) == 0 {
		return nil
	}
	if synced, err := s.jobs.Ready(); !synced {
		// Decisions need the Jobs, and the namespace's UID tells our claims from others'.
		if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
			return fmt.Errorf("%s: %w", admission.Advice(err, s.Namespace), err)
		}
		for _, q := range ask {
			s.next[q] = now.Add(syncInterval)
		}
		s.busyAt = now
		return nil
	}
	due := prefect.DueQuery{
		Scope: s.Scope, Until: now.Add(s.Lookahead), Limit: s.dueLimit(), Except: s.backoffs.runs(now),
		Namespace: s.Namespace, NamespaceUID: s.jobs.NamespaceUID(),
	}
	for _, q := range ask {
		s.asking[q] = true
		if q == whatIsDue {
			s.full, s.begun = false, 0
			s.polls++
			// The interval counts from request to request, as Prefect sees it.
			s.next[q] = now.Add(s.Jitter.Spread(s.PollInterval, apart))
		}
		s.workers.Go(func() error {
			s.answers <- s.ask(ctx, q, due)
			return nil
		})
	}
	return nil
}

// suppliedUntil is until when a burst needs no poll: enough runs are pending, and they may be
// claimed as they were read. The server's time then goes into claims. Zero if there is none.
func (s *loop) suppliedUntil(now time.Time) time.Time {
	if len(s.pending) <= s.Concurrency {
		return time.Time{}
	}
	last := s.pending[len(s.pending)-1]
	if last.Kind != Launch || !last.Run.Arbitrated || last.Run.Due.After(now) {
		return time.Time{}
	}
	return last.Run.ReadAt.Add(claims.MaxAgeOf(last.Run) - s.dueTook)
}

// dueLimit is how many due runs the next poll fetches: as many as can begin until the
// poll after it, with some to spare because other launchers take them too, and the most
// once nearly all of the last poll have begun.
func (s *loop) dueLimit() int {
	most := s.Options.dueLimit()
	if len(s.pending) <= s.begun {
		return most
	}
	return min(most, 4*max(s.begun, s.Concurrency))
}

func (s *loop) polledEnough() bool { return s.MaxPolls > 0 && s.polls >= s.MaxPolls }

// ask polls Prefect, beside the loop and beside other questions, so that a slow answer
// delays nothing else.
func (l *Launcher) ask(ctx context.Context, q question, due prefect.DueQuery) poll {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	k := poll{question: q, read: time.Now()}
	switch q {
	case whatIsClaimed:
		k.claimed, k.err = l.backend.Claimed(ctx, l.Scope)
	case howJobsAre:
		k.jobs, k.err = l.backend.Supervise(ctx, nil, l.jobs.Active())
	default:
		k.due, k.err = l.backend.Due(ctx, due)
	}
	k.took = time.Since(k.read)
	return k
}

const (
	// announceInterval between two heartbeats of the launcher itself, for the UI.
	announceInterval = time.Minute
	// announceWithin is how long claims wait for the first one: the UI shows earlier claims
	// as nobody's.
	announceWithin = 5 * time.Second
)

// announce keeps the launcher alive in the UI until ctx ends. Failures change nothing else.
func (l *Launcher) announce(ctx context.Context) {
	failing := l.failuresOf("prefect_agent")
	tried := sync.OnceFunc(func() { close(l.announced) })
	defer tried()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		call, cancel := context.WithTimeout(ctx, claims.CallTimeout)
		err := l.backend.Announce(call, l.Scope)
		cancel()
		tried()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failing.fail(ctx, time.Now(), err)
		default:
			failing.succeed(ctx, time.Now())
		}
		timer.Reset(max(announceInterval, prefect.RetryAfter(err)))
	}
}
