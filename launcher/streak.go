package launcher

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const maxBackoff = 10 * time.Second

// backoff is how long to wait after n failures in a row: 250 ms, doubled each
// time up to 10 s, spread.
func backoff(n int) time.Duration {
	d := maxBackoff
	if n < 6 {
		d = 250 * time.Millisecond << max(n-1, 0)
	}
	return spread(d)
}

// spread shortens d by up to a fifth, so that launchers that began together do
// not stay together.
func spread(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d/5)+1))
}

// streak follows one upstream's failures in a row and logs the edges only.
type streak struct {
	upstream string
	log      *slog.Logger
	gauge    prometheus.Gauge
	failures int
	since    time.Time
}

func (l *Launcher) streak(upstream string) streak {
	return streak{upstream: upstream, log: l.log, gauge: l.metrics.failures.WithLabelValues(upstream)}
}

func (s *streak) fail(ctx context.Context, now time.Time, err error) {
	s.failures++
	s.gauge.Set(float64(s.failures))
	if s.failures > 1 {
		s.log.DebugContext(ctx, "upstream still fails", "upstream", s.upstream, "err", err)
		return
	}
	s.since = now
	level := slog.LevelWarn
	wrong, template := errors.AsType[*job.TemplateError](err)
	if _, refused := errors.AsType[*RefusedError](err); refused || errors.Is(err, prefect.ErrAuth) || template && !wrong.Passing {
		level = slog.LevelError // it does not pass by itself
	}
	s.log.Log(ctx, level, "upstream fails; trying on", "upstream", s.upstream, "err", err)
}

func (s *streak) succeed(ctx context.Context, now time.Time) {
	if s.failures == 0 {
		return
	}
	s.log.InfoContext(ctx, "upstream answers again", "upstream", s.upstream, "failures", s.failures, "duration", now.Sub(s.since))
	s.failures = 0
	s.gauge.Set(0)
}
