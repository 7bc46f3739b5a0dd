package exchange

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count requests to Prefect, under one name for all Prefects. The labels are closed
// sets: the operations of the clients, and their results.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	requests, err := register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "prefect_keda_prefect_requests_total",
		Help: "Requests to the Prefect API by operation and result.",
	}, []string{"operation", "result"}))
	if err != nil {
		return nil, err
	}
	duration, err := register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "prefect_keda_prefect_request_duration_seconds",
		Help:    "How long the Prefect API took to answer, by operation.",
		Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15},
	}, []string{"operation"}))
	return &metrics{requests, duration}, err
}

// register shares a collector another client registered before us.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	if reg == nil {
		return c, nil
	}
	err := reg.Register(c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing, nil
		}
	}
	return c, err
}

func (m *metrics) observe(operation, result string, took time.Duration) {
	m.requests.WithLabelValues(operation, result).Inc()
	m.duration.WithLabelValues(operation).Observe(took.Seconds())
}
