package launcher

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// Run launches until nothing has been due for IdleTimeout (unless it Stays), MaxPolls is
// reached, or ctx ends. Then it finishes the actions in flight, for at most DrainTimeout,
// and returns nil. It returns an error only when an operator must act before any run can
// be launched. A Launcher runs once.
func (l *Launcher) Run(ctx context.Context) error {
	began := time.Now()
	beside, stopBeside := context.WithCancel(ctx)
	defer stopBeside()
	// These two outlive ctx: claimed runs are finished, and flow runs' logs written.
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	telling, stopTelling := context.WithCancel(context.WithoutCancel(ctx))
	defer stopTelling()

	var others errgroup.Group
	told := make(chan struct{})
	others.Go(func() error { l.jobs.Watch(beside); return nil })
	others.Go(func() error { l.announce(beside); return nil })
	others.Go(func() error { l.lines.write(telling, told); return nil })
	others.Go(func() error { l.tidings.write(telling, told); return nil })

	l.log.InfoContext(ctx, "launcher begins", "launcher", l.Name, "scope", l.Scope.String(), "idle_timeout", l.IdleTimeout, "stays", l.Stays)
	s := newLoop(work, l, stopWork)
	reason, err := s.run(ctx)
	l.stopping.Store(true)
	stopBeside()
	_ = s.workers.Wait() // workers answer with outcomes, never with errors
	close(told)
	limit := time.AfterFunc(flushTimeout, func() { stopTelling(); stopWork() }) // of the work only tidings are left
	_ = others.Wait()
	limit.Stop()
	l.ticked.Store(0)

	t := &l.metrics.totals
	l.log.InfoContext(ctx, "launcher leaves", "reason", reason, "duration", time.Since(began).Round(time.Millisecond),
		"launched", t.launched.Load(), "adopted", t.adopted.Load(), "failed", t.failed.Load(), "handed_back", t.handedBack.Load(), "left", s.left)
	if err != nil {
		return fmt.Errorf("launch due flow runs: %w", err)
	}
	return nil
}

const (
	// minTick is the longest pause between two ticks, for Live.
	minTick = 5 * time.Second
	// flushTimeout bounds writing the last lines of flow runs' logs and telling of the last Jobs.
	flushTimeout = 5 * time.Second
	// pokeGap between two polls for pokes.
	pokeGap = time.Second
	// syncInterval is how often the loop asks whether the Jobs are known.
	syncInterval = 50 * time.Millisecond
)

// loop is the state of a running launcher. One goroutine owns it and makes no call that
// leaves the process: polls and actions run beside it and report. Other goroutines use
// only the fields that say so.
type loop struct {
	*Launcher
	work     context.Context //nolint:containedctx // the actions' context, which is not the loop's
	stopWork context.CancelFunc
	workers  errgroup.Group
	outcomes chan outcome // written by actions
	answers  chan poll    // written by polls
	// slots bound the actions at work. The loop acquires one to begin an action and
	// releases it with the outcome. A launch acquires its own for another try, before
	// anything new may begin.
	slots *semaphore.Weighted
	// leaving is closed when draining begins; launches between two tries wait on it.
	leaving  chan struct{}
	asks     [questions]failures
	kube     failures
	template failures

	asking  [questions]bool
	next    [questions]time.Time
	heard   bool // Prefect has answered before
	polls   int
	more    bool          // the last poll may not have brought all due runs
	full    bool          // and the runs it brought are pending
	begun   int           // runs begun since the last poll
	dueTook time.Duration // how long that poll took

	pending    []Action           // to begin, in this order
	heartbeats []Action           // heartbeats to send
	ahead      []Action           // not due yet, in due order
	inFlight   map[string]*flight // by flow run: begun and not over
	pace       pace

	dueRuns        []prefect.FlowRun
	claimed        []prefect.FlowRun
	claimedRead    time.Time
	jobRuns        prefect.Supervision
	jobRunsRead    time.Time
	settled        map[string]time.Time
	backoffs       backoffs
	keepBy         map[string]time.Time // by flow run: when it needs its next heartbeat after ours
	rotation       int
	busyAt         time.Time
	poked          time.Time // when to poll for the last poke
	claimsFrom     time.Time // no claims before: no agent is registered, or Kubernetes fails
	heartbeatsFrom time.Time // no heartbeats before: Prefect is slow
	quietUntil     time.Time // nothing begins before: Prefect asked for quiet
	draining       bool
	drainBy        time.Time
	orphans        []string // Jobs without a flow run, not reported yet
	left           int      // claims left for others to finish
}

func newLoop(work context.Context, l *Launcher, stopWork context.CancelFunc) *loop {
	now := time.Now()
	return &loop{
		Launcher: l, work: work, stopWork: stopWork,
		outcomes: make(chan outcome, l.Concurrency),
		slots:    semaphore.NewWeighted(int64(l.Concurrency)),
		leaving:  make(chan struct{}),
		answers:  make(chan poll, questions),
		asks:     [questions]failures{l.failuresOf("prefect"), l.failuresOf("prefect_claims"), l.failuresOf("prefect_jobs")},
		kube:     l.failuresOf("kubernetes"),
		template: l.failuresOf("job_template"),
		pace:     newPace(l.Concurrency),
		inFlight: map[string]*flight{}, settled: map[string]time.Time{}, backoffs: newBackoffs(), keepBy: map[string]time.Time{},
		next: [questions]time.Time{now, now, now}, busyAt: now, claimsFrom: now.Add(announceWithin),
	}
}

// run ticks until there is a reason to leave.
func (s *loop) run(ctx context.Context) (reason string, err error) {
	stop, announced := ctx.Done(), s.announced
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		s.ticked.Store(now.UnixNano())
		s.dispatch(now)
		if reason := s.over(now); reason != "" {
			return reason, nil
		}
		if err := s.startPolls(ctx, now); err != nil {
			return "error", err
		}
		timer.Reset(s.nextEvent(now).Sub(now))
		select {
		case <-stop:
			stop = nil
			s.drain(ctx)
		case <-announced:
			announced = nil
			if s.kube.inARow == 0 {
				s.claimsFrom = time.Time{}
			}
		case o := <-s.outcomes:
			s.apply(ctx, o)
		case k := <-s.answers:
			if err := s.applyPoll(ctx, k); err != nil {
				return "error", err
			}
		case <-s.poke:
			s.heed(time.Now())
		case <-s.freed: // for another claim
		case <-timer.C:
		}
	}
}

// heed schedules the polls of a poke: at once, or pokeGap after the previous poke's,
// because anybody may poke.
func (s *loop) heed(now time.Time) {
	if s.poked.After(now) {
		return // that poll is still to come and serves this poke too
	}
	s.poked = s.poked.Add(pokeGap)
	if s.poked.Before(now) {
		s.poked = now
	}
	for q := range questions {
		if s.poked.Before(s.next[q]) {
			s.next[q] = s.poked
		}
	}
}

// drain stops claiming. Launches between two tries get one more.
func (s *loop) drain(ctx context.Context) {
	s.stopping.Store(true)
	s.draining, s.drainBy = true, time.Now().Add(s.DrainTimeout)
	s.pending, s.heartbeats = nil, nil
	s.ahead = nil
	close(s.leaving)
	s.log.InfoContext(ctx, "draining: nothing more is claimed", "in_hand", len(s.inFlight))
}

// over is the reason to leave now, or empty.
func (s *loop) over(now time.Time) string {
	if s.draining {
		if !now.Before(s.drainBy) {
			s.stopWork()
		}
		if len(s.inFlight) == 0 {
			return "drained"
		}
		return ""
	}
	if s.isBusy() || now.Before(s.quietUntil) {
		s.busyAt = now
	}
	switch {
	case len(s.inFlight) > 0 || s.isBusy() || slices.Contains(s.asking[:], true):
		return ""
	case s.polledEnough():
		return "polled enough"
	case !s.Stays && now.Sub(s.busyAt) >= s.IdleTimeout:
		return "idle"
	}
	return ""
}

// isBusy does not count heartbeats: a pod that waits for days must not keep a launcher.
func (s *loop) isBusy() bool {
	return len(s.pending)+len(s.ahead) > 0 || len(s.inFlight) > s.sendingHeartbeats()
}

// nextEvent is the time of the next tick if nothing is reported before.
func (s *loop) nextEvent(now time.Time) time.Time {
	next := now.Add(minTick)
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
	at(s.busyAt.Add(s.IdleTimeout), !s.Stays && !slices.Contains(s.asking[:], true) && len(s.inFlight) == 0 && !s.isBusy())
	at(s.claimsFrom, len(s.pending) > 0 && now.Before(s.claimsFrom))
	at(s.heartbeatsFrom, len(s.heartbeats) > 0 && now.Before(s.heartbeatsFrom))
	for _, f := range s.inFlight {
		freed := f.began.Add(heldUp)
		at(freed, len(s.pending) > 0 && f.isDue() && f.stage.Load() == beforeClaim && now.Before(freed))
	}
	at(s.pace.from, len(s.pending) > 0 && now.Before(s.pace.from))
	if len(s.ahead) > 0 {
		at(s.ahead[0].Run.Due, true)
	}
	return next
}
