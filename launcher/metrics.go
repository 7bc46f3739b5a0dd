package launcher

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble/resolve"
)

// metrics of a launcher. It may be gone before it is scraped, so what matters is
// counted for its last log line as well.
type metrics struct {
	startDelay   prometheus.Histogram
	actions      *prometheus.CounterVec
	claims       *prometheus.CounterVec
	troubles     *prometheus.CounterVec
	failures     *prometheus.GaugeVec
	inFlight     prometheus.Gauge
	linesDropped prometheus.Counter

	totals totals
}

// totals of a launcher's life.
type totals struct{ launched, adopted, failed, handedBack atomic.Int64 }

func (t *totals) count(what resolve.What) {
	switch what {
	case resolve.Failed:
		t.failed.Add(1)
	case resolve.HandedBack:
		t.handedBack.Add(1)
	}
}

func newMetrics() *metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "prefect_keda", Subsystem: "launcher", Name: name, Help: help}
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), labels)
	}
	delay := opts("start_delay_seconds", "Time from a flow run's being due to its Job's creation.")
	m := &metrics{
		startDelay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: delay.Namespace, Subsystem: delay.Subsystem, Name: delay.Name, Help: delay.Help,
			// Fine where a schedule is kept, coarse where a backlog is worked off.
			Buckets: []float64{.025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600},
		}),
		actions:      counters("actions_total", "Actions finished, by what was to be done and what came of it.", "action", "result"),
		claims:       counters("claims_total", "Claims sent, by the backend's answer.", "answer"),
		troubles:     counters("troubles_total", "Troubles of Jobs that flow runs were told of, by what was wrong.", "kind"),
		failures:     prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("consecutive_failures", "Failures in a row when talking to the upstream; 0 while it is well.")), []string{"upstream"}),
		inFlight:     prometheus.NewGauge(prometheus.GaugeOpts(opts("in_hand_runs", "Flow runs being worked on or waiting for another try."))),
		linesDropped: prometheus.NewCounter(prometheus.CounterOpts(opts("log_lines_dropped_total", "Lines of flow runs' logs that could not be written."))),
	}
	// A launcher that lives for a minute or two may be scraped twice. What it has done shows
	// as an increase only if there was a zero before.
	for _, answer := range prefect.Answers() {
		m.claims.WithLabelValues(answer.String())
	}
	return m
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.startDelay, m.actions, m.claims, m.troubles, m.failures, m.inFlight, m.linesDropped} {
		errs = append(errs, r.Register(c))
	}
	return errors.Join(errs...)
}

// launched counts a created Job; due is zero when unknown.
func (m *metrics) launched(due, now time.Time) {
	m.totals.launched.Add(1)
	if !due.IsZero() {
		m.startDelay.Observe(max(now.Sub(due), 0).Seconds())
	}
}
