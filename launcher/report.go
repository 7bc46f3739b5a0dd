package launcher

import (
	"context"
	"log/slog"
	"time"
)

// report says in one line what came of a try, and counts it.
func (s *loop) report(ctx context.Context, now time.Time, o outcome) {
	level, message := slog.LevelDebug, "left the run alone"
	switch {
	case !o.again.IsZero():
		message = "trying the run again later"
	case o.Kind == Heartbeat:
		message = "sent a heartbeat"
	case o.result == told:
		level, message = slog.LevelInfo, "told the run of its Job's trouble"
	case o.result == removed:
		level, message = slog.LevelInfo, "saw to a Job whose run has ended"
	case o.result == done:
		level, message = slog.LevelInfo, "created the Job"
	case o.result == adopted:
		level, message = slog.LevelInfo, "adopted the Job the run has"
	case o.result == failed:
		level, message = slog.LevelInfo, "failed the run"
	case o.result == returned:
		level, message = slog.LevelInfo, "handed the run back"
	case o.result == restored:
		level, message = slog.LevelInfo, "put back the state of a run that a late claim had overwritten"
	}
	// While an upstream is away, its streak says so; not once more per run.
	away := o.blame == prefectAPI && s.asks[whatIsDue].failures > 0 || o.blame == kubernetesAPI || o.blame == jobTemplate
	if o.err != nil && !away {
		level = slog.LevelWarn
	}
	if o.again.IsZero() {
		s.metrics.actions.WithLabelValues(o.Kind.String(), o.result).Inc()
	}
	if !s.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("action", o.Kind.String()), slog.String("flow_run", o.Run.ID), slog.String("flow", o.Run.Flow.Name),
	}
	if o.claim.Attempt != "" {
		attrs = append(attrs, slog.String("attempt", string(o.claim.Attempt)))
	}
	if o.Finding.Kind != "" {
		attrs = append(attrs, slog.String("trouble", string(o.Finding.Kind)))
	}
	if o.Job != "" {
		attrs = append(attrs, slog.String("job", o.Job))
	}
	switch {
	case o.result == failed:
		attrs = append(attrs, slog.String("reason", o.failure))
	case o.result == returned:
		attrs = append(attrs, slog.String("reason", o.handBack))
	case o.result != "" && o.result != done:
		attrs = append(attrs, slog.String("reason", o.result))
	}
	if due := o.Run.Due(); o.result == done && !due.IsZero() {
		attrs = append(attrs, slog.Duration("duration", now.Sub(due)))
	}
	if o.err != nil {
		attrs = append(attrs, slog.Any("err", o.err))
	}
	s.log.LogAttrs(ctx, level, message, attrs...) //nolint:sloglint // one of a closed set of messages
}
