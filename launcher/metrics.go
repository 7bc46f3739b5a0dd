package launcher

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of a launcher. It may be gone before it is scraped, so what matters is
// counted for its last log line as well.
type metrics struct {
	startDelay   prometheus.Histogram
	actions      *prometheus.CounterVec
	claims       *prometheus.CounterVec
	troubles     *prometheus.CounterVec
	failures     *prometheus.GaugeVec
	inHand       prometheus.Gauge
	linesDropped prometheus.Counter

	totals struct{ launched, adopted, failed, handedBack atomic.Int64 }
}

func newMetrics() *metrics {
	const ns, part = "prefect_keda", "launcher"
	return &metrics{
		startDelay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: ns, Subsystem: part, Name: "start_delay_seconds",
			Help: "Time from a flow run's being due to its Job's creation.",
			// Fine where a schedule is kept, coarse where a backlog is worked off.
			Buckets: []float64{.025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600},
		}),
		actions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: part, Name: "actions_total",
			Help: "Actions finished, by what was to be done and what came of it.",
		}, []string{"action", "result"}),
		claims: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: part, Name: "claims_total",
			Help: "Claims sent, by the backend's answer.",
		}, []string{"answer"}),
		troubles: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: part, Name: "troubles_total",
			Help: "Troubles of Jobs that flow runs were told of, by what was wrong.",
		}, []string{"kind"}),
		failures: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: ns, Subsystem: part, Name: "consecutive_failures",
			Help: "Failures in a row when talking to the upstream; 0 while it is well.",
		}, []string{"upstream"}),
		inHand: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: ns, Subsystem: part, Name: "in_hand_runs",
			Help: "Flow runs being worked on or waiting for another try.",
		}),
		linesDropped: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: ns, Subsystem: part, Name: "log_lines_dropped_total",
			Help: "Lines of flow runs' logs that could not be written.",
		}),
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.startDelay, m.actions, m.claims, m.troubles, m.failures, m.inHand, m.linesDropped} {
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
