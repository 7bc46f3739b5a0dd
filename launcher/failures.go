package launcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prefect-keda/prefect-keda/admission"
	"github.com/prefect-keda/prefect-keda/backoff"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/lasting"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// apart is the share by which pauses differ, so that launchers do not stay in step.
const apart = 0.2

// pauseAfter so many failures in a row of an upstream.
func (o Options) pauseAfter(failures int) time.Duration {
	return o.Jitter.Spread(backoff.Growing{First: 250 * time.Millisecond, Longest: 10 * time.Second}.After(failures), apart)
}

// failures in a row of one upstream. They are logged when they begin, now and then while
// they last, and when they end.
type failures struct {
	upstream string
	log      *slog.Logger
	operator func(reason, message string)
	gauge    prometheus.Gauge
	// credentials are what to check when the key is refused.
	credentials string
	inARow      int
	lasts       lasting.State
}

func (l *Launcher) failuresOf(upstream string) failures {
	return failures{upstream: upstream, log: l.log, operator: l.Operator, gauge: l.metrics.failures.WithLabelValues(upstream), credentials: l.Credentials}
}

func (s *failures) fail(ctx context.Context, now time.Time, err error) {
	s.inARow++
	s.gauge.Set(float64(s.inARow))
	if !s.lasts.Holds(now) {
		s.log.DebugContext(ctx, "upstream is still failing", "upstream", s.upstream, "err", err)
		return
	}
	if errors.Is(err, prefect.ErrAuth) {
		err = fmt.Errorf("check %s: %w", s.credentials, err)
	}
	level := slog.LevelWarn
	wrong, template := errors.AsType[*job.TemplateError](err)
	if _, refused := errors.AsType[*admission.RefusedError](err); refused || errors.Is(err, prefect.ErrAuth) || template && !wrong.Passing {
		level = slog.LevelError // it does not pass by itself
	}
	if reason := s.event(err); level == slog.LevelError || reason == eventForbidden {
		s.operator(reason, s.upstream+": "+err.Error())
	}
	if s.inARow > 1 {
		s.log.Log(ctx, level, "upstream is still failing, retrying", "upstream", s.upstream, "failures", s.inARow, "duration", s.lasts.For(now), "err", err)
		return
	}
	s.log.Log(ctx, level, "upstream is failing, retrying", "upstream", s.upstream, "err", err)
}

// The reasons of Events for the operator.
const (
	eventForbidden = "PrefectLauncherForbidden"
	eventTemplate  = "PrefectJobTemplateRefused"
	eventKey       = "PrefectKeyRefused"
)

func (s *failures) event(err error) string {
	switch {
	case errors.Is(err, prefect.ErrAuth):
		return eventKey
	case s.upstream == "kubernetes" && admission.AddresseeOf(err) == admission.Operator:
		return eventForbidden
	}
	return eventTemplate
}

func (s *failures) succeed(ctx context.Context, now time.Time) {
	if s.inARow == 0 {
		return
	}
	s.log.InfoContext(ctx, "upstream answers again", "upstream", s.upstream, "failures", s.inARow, "duration", s.lasts.For(now))
	s.inARow = 0
	s.lasts.Over()
	s.gauge.Set(0)
}
