package scaler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/status"

	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	minPollInterval = 100 * time.Millisecond
	// idleFactor stretches the interval while nobody has asked for idleAfter.
	// KEDA asks every 30 s by default, and an open stream counts as asking.
	idleFactor = 5
	idleAfter  = 2 * time.Minute
	// maxBackoff is how late recovery may be noticed, unless Prefect itself says
	// when to ask again. One request every few seconds keeps nobody down.
	maxBackoff = 3 * time.Second
	// maxTurn is how often the loop comes round at least, however long it pauses.
	maxTurn = 10 * time.Second
	// claimGrace is how long a claim may lack its Job before it counts as demand.
	claimGrace = 5 * time.Second
	// horizon is how far beyond the lead runs are asked for, so that their time
	// is known before it comes, also when a few looks fail.
	horizon = time.Minute
)

// poller looks at one Prefect API for everybody who asks about it. Its
// goroutine is the only writer of the snapshot.
type poller struct {
	name       string
	connection Connection
	watch      *watch // nil when no namespace is watched
	interval   time.Duration
	timeout    time.Duration
	staleness  time.Duration
	log        *slog.Logger
	metrics    *metrics
	// settle is told of every new snapshot.
	settle func(*poller)

	current atomic.Pointer[snapshot]
	asked   atomic.Int64 // when somebody last asked, Unix nanoseconds
	streams atomic.Int64
	lead    atomic.Int64 // the longest warm-up lead in use
	turned  atomic.Int64 // when the loop last came round

	pokes      chan struct{}
	jobChanges chan struct{}

	// Only the loop's own:
	quietUntil  time.Time // Prefect asked to be left alone until then
	frozen      bool      // it was said that KEDA gets errors
	claimed     []prefect.ClaimedRun
	lacking     map[claimKey]time.Time
	signs       signs
	supervision *supervision   // nil when no namespace is watched
	beside      sync.WaitGroup // the question about Jobs that is under way
	replies     chan reply
}

type claimKey struct {
	id      string
	attempt prefect.Attempt
}

func newPoller(name string, o Options, w *watch, m *metrics, settle func(*poller)) *poller {
	p := &poller{
		name:       name,
		connection: o.Connections[name],
		watch:      w,
		interval:   o.PollInterval,
		timeout:    o.PollTimeout,
		staleness:  o.MaxStaleness,
		log:        o.Logger.With("connection", name),
		metrics:    m,
		settle:     settle,
		pokes:      make(chan struct{}, 1),
		jobChanges: make(chan struct{}, 1),
		replies:    make(chan reply, 1),
	}
	p.lead.Store(int64(o.WarmUpLead))
	p.current.Store(&snapshot{superseded: make(chan struct{})})
	// Whoever starts us is about to ask.
	p.asked.Store(time.Now().UnixNano())
	p.turned.Store(time.Now().UnixNano())
	if w != nil {
		w.listen(p.jobChanges)
	}
	if w != nil && len(p.connection.JobNamespaces) > 0 {
		p.supervision = &supervision{watch: w, namespaces: p.connection.JobNamespaces}
	}
	return p
}

// run looks again and again until ctx ends.
func (p *poller) run(ctx context.Context) {
	defer p.beside.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	turn := time.NewTicker(maxTurn)
	defer turn.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-turn.C:
		case <-timer.C:
			p.look(ctx)
			p.supervise(ctx, time.Now())
			timer.Reset(p.pause(time.Now()))
		case r := <-p.replies:
			p.learn(ctx, r)
			if now := time.Now(); now.Before(p.quietUntil) {
				timer.Reset(p.pause(now)) // the next look was due without regard to it
			}
		case <-p.pokes:
			// Trouble upstream is not mended by asking more often.
			if p.current.Load().Failures == 0 && !time.Now().Before(p.quietUntil) {
				timer.Reset(0)
			}
		case <-p.jobChanges:
			p.recount(time.Now())
		}
		now := time.Now()
		p.sayFrozen(ctx, now)
		p.turned.Store(now.UnixNano())
	}
}

// sayFrozen says when KEDA begins to be answered with errors, and when it no longer
// is. It need not be for a look that failed: Prefect may want to be left alone for long.
func (p *poller) sayFrozen(ctx context.Context, now time.Time) {
	s := p.current.Load()
	err := s.usable(p.name, p.staleness, now)
	switch frozen := err != nil; {
	case frozen == p.frozen || s.awaited():
		return
	case frozen:
		p.log.WarnContext(ctx, "KEDA is answered with errors, and scales nothing until Prefect answers", "err", status.Convert(err).Message())
	default:
		p.log.InfoContext(ctx, "KEDA is answered again")
	}
	p.frozen = !p.frozen
}

func (p *poller) look(ctx context.Context) {
	began := time.Now()
	bounded, cancel := context.WithTimeout(ctx, p.timeout)
	o, err := p.connection.Source.Observe(bounded, began.Add(time.Duration(p.lead.Load())+horizon))
	cancel()
	if ctx.Err() != nil {
		return
	}
	p.metrics.looked(p.name, time.Since(began), err)
	before := p.current.Load()
	if err != nil {
		refused := errors.Is(err, prefect.ErrAuth)
		if refused && p.connection.Credentials != "" {
			err = fmt.Errorf("check %s: %w", p.connection.Credentials, err)
		}
		switch {
		case refused && !errors.Is(before.Err, prefect.ErrAuth):
			p.log.ErrorContext(ctx, "the Prefect API refuses the key; KEDA is answered with errors, once the last answer is stale, until the scaler has a valid one", "err", err)
		case before.Failures == 0 && !before.At.IsZero():
			p.log.WarnContext(ctx, "looking at Prefect failed; serving what is known", "err", err)
		}
		p.leaveAlone(err)
		p.publish(before.failed(err))
		return
	}
	if before.Failures > 0 {
		p.log.InfoContext(ctx, "Prefect answers again", "failures", before.Failures)
	}
	switch {
	case o.TooLarge && !before.TooLarge:
		p.log.WarnContext(ctx, "runs wait that are too large to be read together; every ScaledObject of the connection counts as having work")
	case o.Truncated && !before.Truncated:
		p.log.WarnContext(ctx, "more runs wait than one look returns; every ScaledObject of the connection counts as having work")
	}
	o.Due = slices.DeleteFunc(o.Due, func(r prefect.DueRun) bool { return r.LastClaim != nil && p.watch.isElsewhere(*r.LastClaim) })
	now := time.Now()
	p.claimed, p.signs = o.Claimed, p.signs.follow(o.Claimed, before.At, now)
	p.publish(newSnapshot(o, began).with(p.missing(now), p.waiting(now), p.supervision.troubled(now)))
}

// supervise asks what the runs of Jobs are at, beside the loop: what is due is not
// to wait for that. One such question is under way at a time.
func (p *poller) supervise(ctx context.Context, now time.Time) {
	if p.supervision == nil || p.current.Load().Failures > 0 || !p.supervision.due(now) {
		return
	}
	q := p.supervision.ask(now)
	p.beside.Go(func() {
		bounded, cancel := context.WithTimeout(ctx, p.timeout)
		defer cancel()
		answer, err := p.connection.Source.Supervise(bounded, q.troubled, q.active)
		p.replies <- reply{q, answer, err}
	})
}

func (p *poller) learn(ctx context.Context, r reply) {
	p.supervision.learn(r)
	switch {
	case r.err == nil:
		p.recount(time.Now())
	case ctx.Err() == nil:
		p.leaveAlone(r.err)
		p.log.WarnContext(ctx, "cannot read the flow runs of Jobs; trouble is judged by what is known", "err", r.err)
	}
}

// leaveAlone heeds what Prefect asked for with err, if it did.
func (p *poller) leaveAlone(err error) {
	if wish := prefect.RetryAfter(err); wish > 0 {
		p.quietUntil = time.Now().Add(wish)
	}
}

// recount takes note of what became of Jobs since the last look.
func (p *poller) recount(now time.Time) {
	current, troubled := p.current.Load(), p.supervision.troubled(now)
	if len(p.claimed)+len(current.Troubled)+len(troubled) > 0 {
		p.publish(current.with(p.missing(now), p.waiting(now), troubled))
	}
}

// missing are the claims that lack their Job, each with the moment the grace
// for creating it is over. The grace begins when we first see the claim without
// a Job, by our own clock: the server's may be off, and the Job's watch late.
func (p *poller) missing(now time.Time) []missing {
	if p.watch == nil {
		return nil
	}
	var out []missing
	lacking := map[claimKey]time.Time{}
	for _, c := range p.claimed {
		if !p.watch.lacksJob(c) {
			continue
		}
		k := claimKey{c.ID, c.Claim.Attempt}
		since, ok := p.lacking[k]
		if !ok {
			since = now
		}
		lacking[k] = since
		out = append(out, missing{ID: c.ID, Labels: c.Labels, Claim: c.Claim, CountsFrom: since.Add(claimGrace)})
	}
	p.lacking = lacking
	return out
}

func (p *poller) publish(next *snapshot) {
	before := p.current.Swap(next)
	close(before.superseded)
	p.settle(p)
}

// pause is the time to the next look, with some jitter so that several scalers
// do not ask in step.
func (p *poller) pause(now time.Time) time.Duration {
	pause := p.interval
	if p.idle(now) {
		pause *= idleFactor
	}
	for range p.current.Load().Failures {
		if pause >= maxBackoff {
			break
		}
		pause = min(2*pause, maxBackoff)
	}
	return max(jitter(pause, 0.1), p.quietUntil.Sub(now))
}

func (p *poller) idle(now time.Time) bool {
	return p.streams.Load() == 0 && now.UnixNano()-p.asked.Load() > int64(idleAfter)
}

// ask notes that somebody wants answers, and has the loop look at once when it
// had slowed down.
func (p *poller) ask(now time.Time) {
	idle := p.idle(now)
	p.asked.Store(now.UnixNano())
	if idle {
		select {
		case p.pokes <- struct{}{}:
		default:
		}
	}
}

// want makes sure that looks reach as far ahead as lead.
func (p *poller) want(lead time.Duration) {
	for {
		before := p.lead.Load()
		if before >= int64(lead) || p.lead.CompareAndSwap(before, int64(lead)) {
			return
		}
	}
}

// longestTurn is how long the loop can take to come round while all is well,
// an upstream that hangs included.
func (p *poller) longestTurn() time.Duration {
	return 3 * (p.timeout + maxTurn) / 2
}

// jitter is d, give or take the share.
func jitter(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * (1 + share*(2*rand.Float64()-1))) //nolint:gosec // spreads load, guards nothing
}
