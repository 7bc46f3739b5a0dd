package scaler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/status"

	"github.com/prefect-keda/prefect-keda/lasting"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

const (
	// maxTick is the longest time between two ticks of the loop, however long the pause.
	maxTick = 10 * time.Second
	// claimGrace is how long a claim may lack its Job before it counts as demand.
	claimGrace = 5 * time.Second
	// lookahead is how far beyond the lead we ask for runs, so that we know their time
	// before it comes, even if a few polls fail.
	lookahead = time.Minute
)

// poller polls one Prefect API for everybody who asks about it. Its goroutine is the only
// writer of the snapshot.
type poller struct {
	name       string
	connection Connection
	watch      *watch
	notifier   Notifier  // nil if changes are not told
	announcer  Announcer // nil if nothing is announced
	options    Options
	service    *service // for which it polls
	log        *slog.Logger

	current atomic.Pointer[snapshot]
	asked   atomic.Int64 // when somebody last asked, Unix nanoseconds
	streams atomic.Int64
	lead    atomic.Int64 // the longest warm-up lead in use
	ticked  atomic.Int64 // the last tick of the loop

	examining atomic.Bool // somebody reads the pods of launchers

	pokes      chan struct{}
	jobChanges chan struct{}
	jobRuns    *jobListener // whose Jobs changed
	changes    chan struct{}

	// Only the loop uses these:
	quietUntil  time.Time     // Prefect asked to be left alone until then
	refused     lasting.State // Prefect refuses the key
	failing     lasting.State // it does not answer
	frozen      lasting.State // KEDA gets errors
	unread      lasting.State // the flow runs of Jobs cannot be read
	tooLarge    lasting.State // the due runs cannot be read together
	truncated   lasting.State // or not in one poll
	claimed     []prefect.ClaimedRun
	claimsOf    map[string][]int // of a run, in claimed
	lacking     selection        // claims without their Job
	waits       selection        // claims whose Job waits
	jobsKnown   int              // what watch.known was when all claims were last held against Jobs
	signs       signs
	takings     takings
	holding     holding
	looks       looks
	pace        time.Duration // that the source wants
	untakenNext time.Time
	stuck       map[trouble.Kind]*lasting.State // runs are stuck by it
	supervision *supervision                    // nil when no namespace is watched
	beside      sync.WaitGroup                  // what is in flight beside the loop
	replies     chan reply

	announcing    bool
	announced     string // the key of the scope
	announceNext  time.Time
	unannounced   lasting.State // it failed
	announcements chan error
}

type claimKey struct {
	id      string
	attempt prefect.Attempt
}

func newPoller(name string, o Options, w *watch, s *service) *poller {
	p := &poller{
		name:       name,
		connection: o.Connections[name],
		watch:      w,
		options:    o,
		service:    s,
		log:        o.Logger.With("connection", name),
		pokes:      make(chan struct{}, 1),
		jobChanges: make(chan struct{}, 1),
		changes:    make(chan struct{}, 1),
		replies:    make(chan reply, 1),
		stuck:      map[trouble.Kind]*lasting.State{},

		announcements: make(chan error, 1),
	}
	p.notifier, _ = p.connection.Source.(Notifier)
	if p.connection.Announce {
		p.announcer, _ = p.connection.Source.(Announcer)
	}
	p.lead.Store(int64(o.WarmUpLead))
	p.current.Store(&snapshot{replaced: make(chan struct{})})
	// KEDA will ask soon after the start.
	p.asked.Store(time.Now().UnixNano())
	p.ticked.Store(time.Now().UnixNano())
	p.jobRuns = w.listen(p.jobChanges)
	if len(p.connection.JobNamespaces) > 0 {
		p.supervision = &supervision{watch: w, namespaces: p.connection.JobNamespaces}
	}
	return p
}

// run polls again and again until ctx ends.
func (p *poller) run(ctx context.Context) {
	defer p.beside.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	tick := time.Tick(maxTick)
	if p.notifier != nil {
		p.beside.Go(func() { p.notify(ctx) })
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
			p.announce(ctx, time.Now())
		case err := <-p.announcements:
			p.applyAnnouncement(ctx, err, time.Now())
		case <-timer.C:
			p.looks.looked(time.Now())
			p.poll(ctx)
			p.supervise(ctx, time.Now())
			timer.Reset(p.pause(time.Now()))
		case <-p.changes:
			if now := time.Now(); p.changed(now) {
				timer.Reset(p.pause(now))
			}
		case r := <-p.replies:
			p.apply(ctx, r)
			if now := time.Now(); now.Before(p.quietUntil) {
				timer.Reset(p.pause(now)) // the answer may ask for a longer pause
			}
		case <-p.pokes:
			// Asking more often does not help a failing upstream.
			if p.current.Load().Failures == 0 && !time.Now().Before(p.quietUntil) {
				timer.Reset(0)
			}
		case <-p.jobChanges:
			p.recount(time.Now())
		}
		now := time.Now()
		p.sayFrozen(ctx, now)
		p.sayPace(ctx)
		p.sayStuck(ctx, now)
		p.service.findUntaken(ctx, p, now)
		p.ticked.Store(now.UnixNano())
	}
}

// sayFrozen says when KEDA begins to get errors, and when that is over. This can happen
// without a failed poll: Prefect may ask us to wait for long.
func (p *poller) sayFrozen(ctx context.Context, now time.Time) {
	s := p.current.Load()
	if s.awaited() {
		return
	}
	switch err := s.usable(p.name, p.options.MaxStaleness, now); {
	case err == nil:
		if p.frozen.Over() {
			p.log.InfoContext(ctx, "KEDA gets answers again")
		}
	case p.frozen.Holds(now):
		p.log.WarnContext(ctx, "KEDA gets errors and scales nothing until Prefect answers", "err", status.Convert(err).Message())
		if !errors.Is(s.Err, prefect.ErrAuth) { // which has an Event of its own
			p.service.warn(p, eventFrozen, "KEDA gets errors and scales nothing until Prefect answers: "+status.Convert(err).Message(), anybody)
		}
	}
}

func (p *poller) poll(ctx context.Context) {
	began := time.Now()
	bounded, cancel := context.WithTimeout(ctx, p.options.PollTimeout)
	o, err := p.connection.Source.Observe(bounded, began.Add(time.Duration(p.lead.Load())+lookahead))
	cancel()
	if ctx.Err() != nil {
		return
	}
	p.service.metrics.polled(p.name, time.Since(began), err)
	before := p.current.Load()
	if err != nil {
		refused := errors.Is(err, prefect.ErrAuth)
		if refused && p.connection.Credentials != "" {
			err = fmt.Errorf("check %s: %w", p.connection.Credentials, err)
		}
		now := time.Now()
		switch {
		case refused:
			if p.refused.Holds(now) {
				p.log.ErrorContext(ctx, "the Prefect API refuses the key; when the last answer is too old, KEDA gets errors until the scaler has a valid key", "err", err)
				p.service.warn(p, eventKey, "the Prefect API refuses the scaler's key or tenant: "+err.Error(), anybody)
			}
		case before.At.IsZero() || p.frozen.Lasts() || !p.failing.Holds(now):
		case before.usable(p.name, p.options.MaxStaleness, now) == nil:
			p.log.WarnContext(ctx, "polling Prefect failed; KEDA gets answers from the last poll until that is too old", "err", err)
		default:
			p.log.WarnContext(ctx, "polling Prefect failed", "err", err)
		}
		p.leaveAlone(err)
		p.publish(before.failed(err))
		return
	}
	p.refused.Over()
	p.failing.Over()
	if before.Failures > 0 {
		p.log.InfoContext(ctx, "Prefect answers again", "failures", before.Failures)
	}
	now := time.Now()
	switch {
	case o.TooLarge:
		if p.tooLarge.Holds(now) {
			p.log.WarnContext(ctx, "runs wait that are too large to be read together; every ScaledObject of the connection counts as having work")
			p.service.warn(p, eventTruncated, "flow runs wait that are too large to be read together, so launchers stay even if there is no work for them; find the runs with thousands of labels and end them", anybody)
		}
	case o.Truncated:
		p.tooLarge.Over()
		if p.truncated.Holds(now) {
			p.log.WarnContext(ctx, "more runs wait than one poll returns; every ScaledObject of the connection counts as having work")
			p.service.warn(p, eventTruncated, "more flow runs wait than one poll of Prefect returns, so launchers stay even if there is no work for them", anybody)
		}
	default:
		p.tooLarge.Over()
		p.truncated.Over()
	}
	o.Due = slices.DeleteFunc(o.Due, func(r prefect.DueRun) bool { return r.LastClaim != nil && p.watch.isElsewhere(*r.LastClaim) })
	p.supervision.hear(o.Ending)
	p.claimed, p.claimsOf, p.signs = o.Claimed, map[string][]int{}, p.signs.follow(o.Claimed, before.At, now)
	for i, c := range o.Claimed {
		p.claimsOf[c.ID] = append(p.claimsOf[c.ID], i)
	}
	next := p.picture(o, began, now)
	p.sayHeld(ctx, next.Held, now)
	p.publish(next.with(p.withoutJob(now), p.waiting(now), p.supervision.troubled(now), p.stuckRuns()))
}

// picture is the snapshot of one poll, without what Kubernetes knows.
func (p *poller) picture(o prefect.Observation, began, now time.Time) *snapshot {
	p.holding.follow(o, now)
	took := p.takings.follow(o, now)
	s := newSnapshot(o, began)
	s.Taken = took
	return s
}

// supervise asks about the runs of Jobs, in a goroutine beside the loop, because polls for
// due runs must not wait for it. Only one such question is in flight at a time.
func (p *poller) supervise(ctx context.Context, now time.Time) {
	if p.supervision == nil || p.current.Load().Failures > 0 || !p.supervision.due(now) {
		return
	}
	q := p.supervision.ask(now)
	p.beside.Go(func() {
		bounded, cancel := context.WithTimeout(ctx, p.options.PollTimeout)
		defer cancel()
		answer, err := p.connection.Source.Supervise(bounded, q.troubled, q.active)
		p.replies <- reply{q, answer, err}
	})
}

func (p *poller) apply(ctx context.Context, r reply) {
	p.supervision.apply(r)
	switch {
	case r.err == nil:
		if p.unread.Over() {
			p.log.InfoContext(ctx, "the flow runs of Jobs can be read again")
		}
		p.recount(time.Now())
	case ctx.Err() == nil:
		p.leaveAlone(r.err)
		if p.unread.Holds(time.Now()) {
			p.log.WarnContext(ctx, "cannot read the flow runs of Jobs, so Jobs that are newly in trouble wake no launcher", "err", r.err)
		}
	}
}

// leaveAlone obeys the pause that Prefect asked for with err, if it did.
func (p *poller) leaveAlone(err error) {
	if wish := prefect.RetryAfter(err); wish > 0 {
		p.quietUntil = time.Now().Add(wish)
	}
}

// recount updates the snapshot for changes of Jobs since the last poll. While thousands of
// claims wait for their Jobs, each Job is such a change, so it costs what has changed.
func (p *poller) recount(now time.Time) {
	current := p.current.Load()
	missing, waiting := current.WithoutJob, current.Waiting
	switch runs, all := p.jobRuns.take(); {
	case all || p.jobsKnown != p.watch.known(p.connection.JobNamespaces):
		missing, waiting = p.withoutJob(now), p.waiting(now)
	case slices.ContainsFunc(runs, func(run string) bool { return len(p.claimsOf[run]) > 0 }):
		missing, waiting = p.lacking.update(p, runs, p.lacks(now)), p.waits.update(p, runs, p.waitsFrom(now))
	}
	next := current.with(missing, waiting, p.supervision.troubled(now), p.stuckRuns())
	if !next.isLike(current) {
		p.publish(next)
	}
}

// withoutJob are the claims that lack their Job, each with the end of the grace for creating
// it. The grace begins when we first see the claim without a Job, by our own clock: the
// server's clock may be off, and the Job's watch late.
func (p *poller) withoutJob(now time.Time) []claim {
	p.jobsKnown = p.watch.known(p.connection.JobNamespaces)
	return p.lacking.renew(p, p.lacks(now))
}

// lacks tells from when on a claim counts for lack of its Job.
func (p *poller) lacks(now time.Time) counts {
	return func(c prefect.ClaimedRun, before time.Time) (from time.Time, does bool) {
		if !p.watch.lacksJob(c) {
			return time.Time{}, false
		}
		if before.IsZero() {
			before = now.Add(claimGrace)
		}
		return before, true
	}
}

func (p *poller) publish(next *snapshot) {
	before := p.current.Swap(next)
	close(before.replaced)
	p.service.apply(p)
}
