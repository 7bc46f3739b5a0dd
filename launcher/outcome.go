package launcher

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble/resolve"
)

// outcome of an action, or of one try.
type outcome struct {
	// Action with the run as it was last read and the Job that it has now.
	Action
	attempt prefect.Attempt
	// result labels metrics and logs; reason is the text that the run was told.
	result, reason string
	// again is the time of the next try; zero when the action is over.
	again time.Time
	// backoff is until when the subject is not planned again.
	backoff time.Time
	// err is the failure; blame is its upstream, if any.
	err   error
	blame claims.Upstream
	// quiet is how long Prefect asked to be left alone.
	quiet time.Duration
	// claimed is set when the run is ours.
	claimed bool
	// rendered is set when the first try made a Job by the launcher's template.
	rendered bool
	request  request
	// orphan is set when the Job has no flow run.
	orphan bool
}

// Upstreams to blame.
const (
	none          claims.Upstream = ""
	prefectAPI                    = claims.Prefect
	kubernetesAPI                 = claims.Kubernetes
	jobTemplate   claims.Upstream = "job_template" // the launcher's own
)

// Results, a closed set.
const (
	done       = "done"
	adopted    = "adopted"
	lost       = "lost"
	later      = string(claims.TooEarly)
	overtaken  = string(claims.Overtaken)
	failed     = string(resolve.Failed)
	handedBack = string(resolve.HandedBack)
	restored   = string(claims.Undone)
	broken     = string(claims.Broken)
	left       = "left"
	told       = string(resolve.Told)
	removed    = string(resolve.Removed)
	ignored    = string(resolve.Ignored)
)

// A step of an action returns nil to go on. Otherwise its error says who must act: for a
// *prefect.AuthorError the flow's author, for a *barred the operator, for all others nobody.

// stop ends an action without a Job: it is too early, or another launcher has the run.
type stop struct {
	result string
	// backoff is how long the subject is not planned again.
	backoff time.Duration
	err     error // may be nil
	blame   claims.Upstream
	quiet   time.Duration
}

// Error is for logs.
func (s *stop) Error() string {
	if s.err != nil {
		return s.err.Error()
	}
	return s.result
}

// barred is a failure that only the operator can mend.
type barred struct {
	err   error
	blame claims.Upstream
}

// Error is for the operator.
func (b *barred) Error() string { return b.err.Error() }

// Unwrap is the cause.
func (b *barred) Unwrap() error { return b.err }

// after is the outcome of an action that ends with an error.
func (a Action) after(err error) outcome {
	now, o := time.Now(), outcome{Action: a, result: broken, err: err}
	wait := claims.NotNow
	var (
		s       *stop
		b       *barred
		failure *claims.Failure
		ended   *claims.Ended
	)
	switch {
	case errors.As(err, &s):
		o.result, o.err, o.blame, o.quiet, wait = s.result, s.err, s.blame, s.quiet, s.backoff
	case errors.As(err, &b):
		o.err, o.blame, wait = b.err, b.blame, claims.HandBackDelay
	case errors.As(err, &failure):
		o.err, o.blame, wait = failure.Err, failure.Of, max(failure.After, claims.NotNow)
	case errors.As(err, &ended):
		o.result, o.err, o.blame, wait = string(ended.Why), ended.Err, ended.Of, ended.For
	}
	if wait > 0 {
		o.backoff = now.Add(wait)
	}
	return o
}

// insist repeats a step while its failures may pass, for at most so long since the first
// one. A launcher that leaves tries once more.
func (l *launch) insist(ctx context.Context, most time.Duration, step func(context.Context) error) error {
	for {
		last := l.stopping.Load()
		err := step(ctx)
		failure, isPassing := errors.AsType[*claims.Failure](err)
		if !isPassing || !l.claimed {
			return err
		}
		now := time.Now()
		if l.failing.IsZero() {
			l.failing = now
		}
		if last || claims.Age(l.failing, now) > most || ctx.Err() != nil {
			return err
		}
		o := l.ended("")
		o.err, o.blame, o.again = failure.Err, failure.Of, now.Add(max(failure.After, l.pauseAfter(l.tries)))
		l.pause(ctx, o)
		l.tries++
		l.request = request{}
	}
}

// maxNamed orphans are named; thousands may be left after a new set-up of Prefect.
const maxNamed = 5

// sayOrphans logs one line for all Jobs without a flow run, once no Job in trouble is left
// to resolve.
func (s *loop) sayOrphans(ctx context.Context) {
	if len(s.orphans) == 0 || slices.ContainsFunc(s.pending, func(a Action) bool { return a.Kind == Resolve }) {
		return
	}
	for _, e := range s.inFlight {
		if e.Kind == Resolve {
			return
		}
	}
	s.log.WarnContext(ctx, "the flow runs of Jobs do not exist (any more); these Jobs are left alone", "count", len(s.orphans), "jobs", s.orphans[:min(maxNamed, len(s.orphans))])
	s.orphans = nil
}

// logOutcome logs an outcome in one line and counts it.
func (s *loop) logOutcome(ctx context.Context, now time.Time, o outcome) {
	level, message := slog.LevelInfo, map[string]string{
		told:       "told the run of its Job's trouble",
		removed:    "handled a Job whose run has ended",
		done:       "created the Job",
		adopted:    "adopted the Job the run has",
		failed:     "failed the run",
		handedBack: "handed the run back",
		restored:   "put back the state of a run that a late claim had overwritten",
	}[o.result]
	switch {
	case !o.again.IsZero():
		level, message = slog.LevelDebug, "trying the run again later"
	case o.Kind == Heartbeat:
		level, message = slog.LevelDebug, "sent a heartbeat"
	case message == "":
		level, message = slog.LevelDebug, "left the run alone"
	}
	// While an upstream is away, its own lines say so.
	away := o.blame == prefectAPI && s.asks[whatIsDue].inARow > 0 || o.blame == kubernetesAPI || o.blame == jobTemplate
	if o.err != nil && !away {
		level = slog.LevelWarn
	}
	if o.again.IsZero() {
		s.metrics.actions.WithLabelValues(o.Kind.String(), o.result).Inc()
	}
	if !s.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.String("action", o.Kind.String()), slog.String("flow_run", o.Run.ID)}
	if o.Run.FlowName != "" {
		attrs = append(attrs, slog.String("flow", o.Run.FlowName))
	}
	reason := o.result
	switch o.result {
	case done:
		reason = ""
	case failed, handedBack:
		reason = o.reason
	}
	for _, a := range []slog.Attr{
		slog.String("attempt", string(o.attempt)), slog.String("trouble", string(o.Finding.Kind)), slog.String("job", o.Job), slog.String("reason", reason),
	} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	if due := o.Run.Due; o.result == done && !due.IsZero() {
		attrs = append(attrs, slog.Duration("duration", now.Sub(due)))
	}
	if o.err != nil {
		attrs = append(attrs, slog.Any("err", o.err))
	}
	s.log.LogAttrs(ctx, level, message, attrs...) //nolint:sloglint // one of a closed set of messages
}
