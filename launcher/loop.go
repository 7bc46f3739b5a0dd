package launcher

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// maxWaiting errands per worker may wait for Kubernetes before nothing more is
	// claimed: with a full quota, what is not claimed is better off in the queue.
	maxWaiting = 4
	// maxRepairs of other launchers' claims per worker are in hand at once, besides.
	// Their launchers may be alive and wait for the same quota.
	maxRepairs = 1
	// minTurn is how often the loop comes round at least, for Live.
	minTurn = 5 * time.Second
	// syncInterval is how often the watch of Jobs is asked whether it is ready.
	syncInterval = 50 * time.Millisecond
)

// loop is what a running launcher knows. One goroutine owns it and never makes a
// call that leaves the process: looks and errands run beside it and report.
type loop struct {
	*Launcher
	work     context.Context //nolint:containedctx // the errands' context, which is not the loop's
	stopWork context.CancelFunc
	workers  errgroup.Group
	outcomes chan outcome
	looks    chan look
	asks     [questions]streak
	kube     streak
	template streak

	asking  [questions]bool
	next    [questions]time.Time
	heard   bool // Prefect has answered before
	polls   int
	more    bool          // there may be more due runs than the last look brought
	full    bool          // and those it brought are being worked off
	begun   int           // runs begun since the last look
	dueTook time.Duration // is how long it took

	pending []Action           // to begin, in this order
	beats   []Action           // heartbeats to send
	ahead   calendar[Action]   // not due yet
	ready   []*errand          // to go on with
	waiting calendar[*errand]  // for their next try
	hand    map[string]*errand // by flow run: begun and not over
	// repairing are the runs in hand whose claim is another's, and whether they wait.
	repairing map[string]bool
	working   int // errands that occupy a worker
	beating   int // heartbeats among them
	pace      pace

	due         []prefect.FlowRun
	claimed     []prefect.FlowRun
	claimedRead time.Time
	jobRuns     prefect.Supervision
	jobRunsRead time.Time
	settled     map[string]time.Time
	holds       holds
	beatAt      map[string]time.Time
	turn        int
	busyAt      time.Time
	poked       time.Time // when the last poke has us look
	claimsFrom  time.Time // nothing is claimed before: no agent is registered, or Kubernetes fails
	beatsFrom   time.Time // no heartbeat is sent before: Prefect is slow
	quietUntil  time.Time // nothing is begun or asked before, because Prefect wants to be left alone
	draining    bool
	drainBy     time.Time
	left        int // claims left for others to finish
}

func newLoop(work context.Context, l *Launcher, stopWork context.CancelFunc) *loop {
	now := time.Now()
	return &loop{
		Launcher: l, work: work, stopWork: stopWork,
		outcomes: make(chan outcome, l.Concurrency),
		looks:    make(chan look, questions),
		asks:     [questions]streak{l.streak("prefect"), l.streak("prefect_claims"), l.streak("prefect_jobs")},
		kube:     l.streak("kubernetes"),
		template: l.streak("job_template"),
		pace:     newPace(l.Concurrency),
		hand:     map[string]*errand{}, repairing: map[string]bool{}, settled: map[string]time.Time{}, holds: newHolds(), beatAt: map[string]time.Time{},
		next: [questions]time.Time{now, now, now}, busyAt: now, claimsFrom: now.Add(announceWithin),
	}
}

// run turns until there is a reason to leave.
func (s *loop) run(ctx context.Context) (reason string, err error) {
	stop, announced := ctx.Done(), s.announced
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		s.turned.Store(now.UnixNano())
		s.dispatch(now)
		if reason := s.over(now); reason != "" {
			return reason, nil
		}
		if err := s.startLook(ctx, now); err != nil {
			return "error", err
		}
		timer.Reset(s.nextEvent(now).Sub(now))
		select {
		case <-stop:
			stop = nil
			s.drain(ctx)
		case <-announced:
			announced = nil
			if s.kube.failures == 0 {
				s.claimsFrom = time.Time{}
			}
		case o := <-s.outcomes:
			s.settle(ctx, o)
		case k := <-s.looks:
			if err := s.learn(ctx, k); err != nil {
				return "error", err
			}
		case <-s.poke:
			s.heed(time.Now())
		case <-s.freed: // for another claim
		case <-timer.C:
		}
	}
}

// heed has Prefect asked at once because of a poke, or a second after the last poke
// had it asked: anybody may poke, and each is heard within that second.
func (s *loop) heed(now time.Time) {
	if s.poked.After(now) {
		return // that look is yet to come, and will do for this poke too
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
