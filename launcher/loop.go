package launcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/prefect-keda/prefect-keda/job"
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

	asking [questions]bool
	next   [questions]time.Time
	heard  bool // Prefect has answered before
	polls  int
	more   bool // there may be more due runs than the last look brought
	full   bool // and those it brought are being worked off
	begun  int  // runs begun since the last look

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
	claimsFrom  time.Time // nothing is claimed before, because Kubernetes fails
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
		hand:     map[string]*errand{}, repairing: map[string]bool{}, settled: map[string]time.Time{}, holds: newHolds(), beatAt: map[string]time.Time{},
		next: [questions]time.Time{now, now, now}, busyAt: now,
	}
}

// run turns until there is a reason to leave.
func (s *loop) run(ctx context.Context) (reason string, err error) {
	stop := ctx.Done()
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
		case o := <-s.outcomes:
			s.settle(ctx, o)
		case k := <-s.looks:
			if err := s.learn(ctx, k); err != nil {
				return "error", err
			}
		case <-s.poke:
			now := time.Now()
			s.next = [questions]time.Time{now, now, now}
		case <-timer.C:
		}
	}
}

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
	due := prefect.DueQuery{Labels: s.Labels, Until: now.Add(s.Lookahead), Limit: s.dueLimit(), Except: s.holds.runs(now)}
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
	return prefect.Supervision{Cancelled: slices.DeleteFunc(jobs.Cancelled, others), Silent: slices.DeleteFunc(jobs.Silent, others)}
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
		case len(s.beats) > 0 && (s.beating == 0 || len(s.pending) == 0 && s.beating < max(1, s.Concurrency/4)):
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
	creates := !now.Before(s.claimsFrom)
	i := slices.IndexFunc(s.pending, func(a Action) bool {
		switch {
		case a.Kind == Resolve:
			return true
		case s.repairsAnother(a):
			return creates && len(s.repairing) < maxRepairs*s.Concurrency
		case a.Kind == Repair:
			return creates
		}
		return creates && waiting < maxWaiting*s.Concurrency
	})
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
		s.begin(&errand{Action: a})
	}
}

func (s *loop) begin(e *errand) {
	s.working++
	if e.Kind == Heartbeat {
		s.beating++
	}
	if s.repairing[e.Run.ID] {
		s.repairing[e.Run.ID] = false
	}
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
	case s.template.failures > 0 && o.job != nil && o.tries == 1 && !job.BringsTemplate(o.Run):
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
	if t, ok := s.ahead.next(); ok {
		at(t, true)
	}
	if t, ok := s.waiting.next(); ok {
		at(t, true)
	}
	return next
}
