package launcher

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// maxWaiting launches per slot may wait for Kubernetes; then nothing more is claimed.
	// With a full quota an unclaimed run is better off in the queue.
	maxWaiting = 4
	// maxRepairs of other launchers' claims per slot are in flight at once, besides.
	// Their launchers may be alive and wait for the same quota.
	maxRepairs = 1
	// heldUp is the age at which a launch before its claim no longer counts as claiming:
	// it waits for a template's server or for Kubernetes, not for Prefect.
	heldUp = 500 * time.Millisecond
)

// flight is an action that has begun and is not over. The loop fills it; afterwards
// only the action's goroutine writes stage and awaited, and the loop reads them.
type flight struct {
	Action
	began time.Time
	// handedBack counts how often in a row the run was handed back for the operator's fault.
	handedBack int
	stage      atomic.Int32
	// awaited is the claim under way.
	awaited atomic.Pointer[awaited]
}

// The stages of a launch.
const (
	beforeClaim int32 = iota // renders the Job and asks Kubernetes, without Prefect
	atClaim                  // reads and claims the run
	afterClaim               // knows the answer
	retrying                 // waits for its next try, without a slot
)

// dispatch begins actions while there are slots. Claimed runs come first: nothing
// begins while one of them waits for a slot.
func (s *loop) dispatch(now time.Time) {
	due := 0
	for due < len(s.ahead) && !s.ahead[due].Run.Due.After(now) {
		due++
	}
	if due > 0 {
		// They are due now; the others are late already.
		s.pending = slices.Concat(s.ahead[:due], s.pending)
		s.ahead = s.ahead[due:]
	}
	defer func() { s.tidings.setBurst(len(s.pending) > 0) }()
	for s.slots.TryAcquire(1) {
		a, ok := s.nextAction(now)
		if !ok {
			s.slots.Release(1)
			return
		}
		s.begin(a)
	}
}

// nextAction removes the next action to begin; false when none may begin.
func (s *loop) nextAction(now time.Time) (Action, bool) {
	if now.Before(s.quietUntil) {
		return Action{}, false
	}
	if s.heartbeatMayBegin(now) {
		a := s.heartbeats[0]
		s.heartbeats = s.heartbeats[1:]
		return a, true
	}
	if i := s.nextPending(now); i >= 0 {
		a := s.pending[i]
		s.begun++
		if i == 0 {
			s.pending = s.pending[1:] // thousands may follow
		} else {
			s.pending = slices.Delete(s.pending, i, i+1)
		}
		return a, true
	}
	if s.full && len(s.pending) == 0 {
		s.full, s.next[whatIsDue] = false, now // Prefect has more
	}
	return Action{}, false
}

// heartbeatMayBegin allows one heartbeat at a time beside other actions, and more when
// nothing else is pending.
func (s *loop) heartbeatMayBegin(now time.Time) bool {
	if len(s.heartbeats) == 0 || now.Before(s.heartbeatsFrom) {
		return false
	}
	sending := s.sendingHeartbeats()
	return sending == 0 || len(s.pending) == 0 && sending < max(1, s.Concurrency/4)
}

// nextPending is the index of the first action that may begin, or -1. Runs that wait
// for Kubernetes do not hold up the Jobs in trouble, which may fill the quota.
func (s *loop) nextPending(now time.Time) int {
	if len(s.pending) == 0 {
		return -1
	}
	waiting, repairing, claiming := s.inFlightNow(now)
	creates, again := !now.Before(s.claimsFrom), false
	i := slices.IndexFunc(s.pending, func(a Action) bool {
		switch {
		case a.Kind == Resolve, a.Kind == Review:
			return true
		case s.repairsAnother(a):
			return creates && repairing < maxRepairs*s.Concurrency
		case a.Kind == Repair:
			return creates
		}
		claims := creates && waiting < maxWaiting*s.Concurrency && s.pace.allows(claiming, now)
		stale := claims && s.pollsAgain(a, now)
		again = again || stale
		return claims && !stale
	})
	if again && !s.asking[whatIsDue] {
		s.next[whatIsDue] = now
	}
	return i
}

// pollsAgain reports whether to poll instead of reading the run alone: it was read too
// long ago, others wait with it, and one poll refreshes all of them if it is quick.
func (s *loop) pollsAgain(a Action, now time.Time) bool {
	most := claims.MaxAgeOf(a.Run)
	return claims.Age(a.Run.ReadAt, now) > most && len(s.pending) > 1 && s.dueTook < most*inTime/100 && !s.polledEnough()
}

// inFlightNow counts the launches that wait for their next try, the repairs of other
// launchers' claims, and the launches that claim or are about to.
func (s *loop) inFlightNow(now time.Time) (waiting, repairing, claiming int) {
	for _, f := range s.inFlight {
		stage, another := f.stage.Load(), s.repairsAnother(f.Action)
		switch {
		case another:
			repairing++
		case stage == retrying:
			waiting++
		case f.isDue() && (stage == atClaim || stage == beforeClaim && now.Sub(f.began) < heldUp):
			claiming++
		}
	}
	return waiting, repairing, claiming
}

func (s *loop) sendingHeartbeats() (n int) {
	for _, f := range s.inFlight {
		if f.Kind == Heartbeat {
			n++
		}
	}
	return n
}

func (s *loop) repairsAnother(a Action) bool {
	return a.Kind == Repair && a.Run.Claim != nil && a.Run.Claim.Launcher != s.Name
}

// begin starts the goroutine of an action; its slot is acquired.
func (s *loop) begin(a Action) {
	if s.inFlight[a.Run.ID] != nil {
		s.slots.Release(1) // an action from ahead may be older than the flight
		return
	}
	f := &flight{Action: a, began: time.Now(), handedBack: s.backoffs.failures[a.handedBackKey()]}
	s.inFlight[a.Run.ID] = f
	s.metrics.inFlight.Set(float64(len(s.inFlight)))
	s.workers.Go(func() error {
		s.outcomes <- s.carryOut(s.work, f, func(ctx context.Context, failed outcome) { s.pause(ctx, f, failed) })
		return nil
	})
}

// pause waits between two tries of a launch. It reports the failed one, with which the
// loop takes the slot back, and acquires another.
func (s *loop) pause(ctx context.Context, f *flight, failed outcome) {
	f.stage.Store(retrying)
	s.outcomes <- failed
	timer := time.NewTimer(time.Until(failed.again))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.leaving:
	case <-ctx.Done():
	}
	// All slot holders share ctx, so a slot comes free when it ends.
	_ = s.slots.Acquire(context.WithoutCancel(ctx), 1)
	f.stage.Store(afterClaim)
	signal(s.freed)
}

// apply takes the outcome of an action, or of one try.
func (s *loop) apply(ctx context.Context, o outcome) {
	now, id := time.Now(), o.Run.ID
	s.slots.Release(1)
	if o.Kind == Heartbeat {
		began := s.inFlight[id].began
		s.heartbeatsFrom = began.Add(s.pace.stretch(now.Sub(began)))
	}
	if !o.request.sent.IsZero() {
		s.pace.apply(o.request.sent, o.request.heard, o.request.answered)
	}
	s.logOutcome(ctx, now, o)
	s.leaveAlone(ctx, now, max(o.quiet, prefect.RetryAfter(o.err)))
	switch {
	case o.blame == kubernetesAPI:
		s.kube.fail(ctx, now, o.err)
		s.claimsFrom = now.Add(s.pauseAfter(s.kube.inARow))
	case o.result == done && o.Kind != Heartbeat:
		s.kube.succeed(ctx, now)
		s.claimsFrom = time.Time{}
	}
	switch {
	case o.blame == jobTemplate:
		s.template.fail(ctx, now, o.err)
	case s.template.inARow > 0 && o.rendered && !s.trial.Wary(false):
		s.template.succeed(ctx, now)
	}
	if !o.again.IsZero() {
		return
	}
	delete(s.inFlight, id)
	s.metrics.inFlight.Set(float64(len(s.inFlight)))
	switch {
	case o.Kind != Heartbeat:
		s.settled[id] = now
	case o.result == done:
		s.keepBy[id] = o.Run.KeepBy
	}
	s.backoffs.apply(now, o)
	if o.result == left && o.claimed {
		s.left++
	}
	if o.orphan {
		s.orphans = append(s.orphans, o.Job)
	}
	s.sayOrphans(ctx)
}
