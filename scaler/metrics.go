package scaler

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// metrics are what happened, counted; what is, is read at the scrape (gauges).
type metrics struct {
	requests    *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	polls       *prometheus.CounterVec
	poll        *prometheus.HistogramVec
	streams     prometheus.Gauge
	activations *prometheus.CounterVec
	latency     prometheus.Histogram
	panics      prometheus.Counter
	forgotten   prometheus.Counter
	hungUp      prometheus.Counter
}

func newMetrics() *metrics {
	return &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prefect_keda_scaler_requests_total", Help: "Calls answered, streams counted at their end.",
		}, []string{"method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "prefect_keda_scaler_request_duration_seconds", Help: "How long unary calls took.",
			Buckets: []float64{.0001, .0005, .001, .005, .025, .1, .5, 1},
		}, []string{"method"}),
		polls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prefect_keda_scaler_polls_total", Help: "Looks at Prefect, by what came of them.",
		}, []string{"connection", "result"}),
		poll: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "prefect_keda_scaler_poll_duration_seconds", Help: "How long a look at Prefect took.",
			// Around the default timeout, so that time-outs show.
			Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 14.9, 16},
		}, []string{"connection"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "prefect_keda_scaler_streams", Help: "Open StreamIsActive calls.",
		}),
		activations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prefect_keda_scaler_activations_total", Help: "Activations pushed to KEDA, by why.",
		}, []string{"reason"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "prefect_keda_scaler_activation_latency_seconds", Help: "From the due time of the earliest run to the push, 0 when the push came first.",
			Buckets: []float64{.01, .1, .5, 1, 2, 5, 10, 30, 60},
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "prefect_keda_scaler_panics_total", Help: "Calls that ended in a panic; each is a bug.",
		}),
		forgotten: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "prefect_keda_scaler_forgotten_total", Help: "ScaledObjects forgotten to make room for others. Those that are real need none: see who can reach the port.",
		}),
		hungUp: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "prefect_keda_scaler_connections_refused_total", Help: "Connections closed at once because too many were open.",
		}),
	}
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.duration, m.polls, m.poll, m.streams, m.activations, m.latency, m.panics, m.forgotten, m.hungUp}
}

func (m *metrics) looked(connection string, took time.Duration, err error) {
	result := "ok"
	switch {
	case errors.Is(err, prefect.ErrAuth):
		result = "auth"
	case err != nil:
		result = "error"
	}
	m.polls.WithLabelValues(connection, result).Inc()
	m.poll.WithLabelValues(connection).Observe(took.Seconds())
}

// pushed counts a message. Only an edge tells how fast we are: what an opening
// stream is told may have begun long before.
func (m *metrics) pushed(k kind, since, now time.Time) {
	m.activations.WithLabelValues(string(k)).Inc()
	if k == edge && !since.IsZero() {
		m.latency.Observe(max(0, now.Sub(since).Seconds()))
	}
}

// gauges reads the present state at each scrape. Series of ScaledObjects that
// nobody asks for any more end by themselves.
type gauges struct {
	service *service

	age, failures, due, lacking, silent, troubled *prometheus.Desc
	demand, value, active, asking                 *prometheus.Desc
}

func newGauges(s *service) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("prefect_keda_scaler_"+name, help, labels, nil)
	}
	return &gauges{
		service:  s,
		age:      desc("snapshot_age_seconds", "Age of what answers are made of; absent until Prefect has answered once.", "connection"),
		failures: desc("poll_consecutive_failures", "Looks at Prefect that failed since the last success.", "connection"),
		due:      desc("due_runs", "Due runs, whatever their labels.", "connection"),
		lacking:  desc("claims_without_job", "Claims whose Job is missing, the grace for creating it included.", "connection"),
		silent:   desc("heartbeats_due", "Claims whose Job waits and that need a heartbeat, which wakes a launcher.", "connection"),
		troubled: desc("jobs_in_trouble", "Jobs that want or will want a launcher to see to them.", "connection", "kind"),
		demand:   desc("demand", "Runs and claims that want a launcher.", "scaled_object"),
		value:    desc("metric_value", "The metric as told to KEDA.", "scaled_object"),
		active:   desc("active", "1 while the ScaledObject is told to be active.", "scaled_object"),
		asking:   desc("last_asked_timestamp_seconds", "When KEDA last asked.", "scaled_object"),
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.age, g.failures, g.due, g.lacking, g.silent, g.troubled, g.demand, g.value, g.active, g.asking} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(c chan<- prometheus.Metric) {
	now := time.Now()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for name, p := range g.service.pollers {
		s := p.current.Load()
		gauge(g.failures, float64(s.Failures), name)
		if s.At.IsZero() {
			continue
		}
		due := 0
		for _, group := range s.Groups {
			due += after(group.Due, now)
		}
		gauge(g.age, now.Sub(s.At).Seconds(), name)
		gauge(g.due, float64(due), name)
		gauge(g.lacking, float64(len(s.Missing)), name)
		silent := 0
		for _, w := range s.Waiting {
			if !w.CountsFrom.After(now) {
				silent++
			}
		}
		gauge(g.silent, float64(silent), name)
		kinds := map[trouble.Kind]int{}
		for _, d := range s.Troubled {
			kinds[d.Kind]++
		}
		for _, k := range trouble.Kinds() {
			gauge(g.troubled, float64(kinds[k]), name, string(k))
		}
	}

	// Several triggers of one ScaledObject share its series, as they share its
	// launchers.
	type sums struct{ demand, value, active, asked float64 }
	objects := map[string]*sums{}
	for _, so := range g.service.seen.all() {
		name := so.String()
		if objects[name] == nil {
			objects[name] = &sums{}
		}
		o := objects[name]
		o.asked = max(o.asked, float64(so.asked.Load())/1e9)
		if v, err := g.service.peek(so, now); err == nil {
			o.demand += float64(v.Demand())
			o.value += float64(v.Value)
			if v.Active {
				o.active = 1
			}
		}
	}
	for name, o := range objects {
		gauge(g.demand, o.demand, name)
		gauge(g.value, o.value, name)
		gauge(g.active, o.active, name)
		gauge(g.asking, o.asked, name)
	}
}
