package scaler

import (
	"errors"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prefect-keda/prefect-keda/jobs/informer"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// metricPrefix begins the names of the scaler's metrics.
const metricPrefix = "prefect_keda_scaler_"

// metrics count what happened; gauges reads the present state at each scrape.
type metrics struct {
	collectors []prometheus.Collector

	requests    *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	polls       *prometheus.CounterVec
	poll        *prometheus.HistogramVec
	streams     prometheus.Gauge
	activations *prometheus.CounterVec
	latency     prometheus.Observer
	panics      prometheus.Counter
	forgotten   prometheus.Counter
	hungUp      prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{streams: prometheus.NewGauge(prometheus.GaugeOpts{Name: metricPrefix + "streams", Help: "Open StreamIsActive calls."})}
	m.collectors = append(m.collectors, m.streams)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}, labels)
		m.collectors = append(m.collectors, c)
		return c
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: metricPrefix + name, Help: help, Buckets: buckets}, labels)
		m.collectors = append(m.collectors, h)
		return h
	}
	m.requests = counter("requests_total", "Calls answered, streams counted at their end.", "method", "code")
	m.duration = histogram("request_duration_seconds", "How long unary calls took.",
		[]float64{.0001, .0005, .001, .005, .025, .1, .5, 1}, "method")
	m.polls = counter("polls_total", "Polls of Prefect, by their result.", "connection", "result")
	m.poll = histogram("poll_duration_seconds", "How long a poll of Prefect took.",
		// Around the default timeout, so that time-outs show.
		[]float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 14.9, 16}, "connection")
	m.activations = counter("activations_total", "Activations pushed to KEDA, by their reason.", "reason")
	m.latency = histogram("activation_latency_seconds", "From the due time of the earliest run to the push, 0 when the push came first.",
		[]float64{.01, .1, .5, 1, 2, 5, 10, 30, 60}).WithLabelValues()
	m.panics = counter("panics_total", "Calls that ended in a panic; each is a bug.").WithLabelValues()
	m.forgotten = counter("forgotten_total", "ScaledObjects forgotten to make room for others. Real ones fit in by far: check who can reach the port.").WithLabelValues()
	m.hungUp = counter("connections_refused_total", "Connections closed at once because too many were open.").WithLabelValues()
	return m
}

// readiness shows what /readyz says.
func readiness(ready func() error) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: metricPrefix + "ready",
		Help: "1 while the scaler takes calls, 0 while it does not, because permissions are missing or it starts or stops; /readyz says why.",
	}, func() float64 {
		if ready() != nil {
			return 0
		}
		return 1
	})
}

func (m *metrics) polled(connection string, took time.Duration, err error) {
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

// pushed counts a message. Only an edge shows how fast we are: when a stream opens, its
// demand may have begun long before.
func (m *metrics) pushed(k kind, since, now time.Time) {
	m.activations.WithLabelValues(string(k)).Inc()
	if k == edge && !since.IsZero() {
		m.latency.Observe(max(0, now.Sub(since).Seconds()))
	}
}

// gauges reads the present state at each scrape. The series of a ScaledObject end by
// themselves when KEDA no longer asks for it.
type gauges struct {
	service *service

	age, stale, wanted, failures, due, unserved, overdue *prometheus.Desc
	held, lacking, silent, troubled, stuck, longest      *prometheus.Desc
	demand, value, active, asking, untaken, since        *prometheus.Desc
	failing                                              *prometheus.Desc
}

func newGauges(s *service) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(metricPrefix+name, help, labels, nil)
	}
	return &gauges{
		service:  s,
		age:      desc("snapshot_age_seconds", "Age of the poll that answers are made of; absent until Prefect has answered once.", "connection"),
		stale:    desc("snapshot_stale", "1 while that poll is too old to answer from, or there is none: KEDA gets errors and changes nothing.", "connection"),
		wanted:   desc("connection_last_asked_timestamp_seconds", "When KEDA last asked about the connection, for whichever ScaledObject; the scaler's start if it has not yet.", "connection"),
		failures: desc("poll_consecutive_failures", "Polls of Prefect that failed since the last success.", "connection"),
		due:      desc("due_runs", "Due runs at any place.", "connection"),
		unserved: desc("runs_unserved", "Due runs at places that no ScaledObject serves that asked this scaler lately.", "connection"),
		overdue:  desc("runs_unserved_longest_seconds", "How long the one that has been due for longest has been; 0 if there is none.", "connection"),
		held:     desc("runs_held", "Due runs that Prefect holds back, because of a pause or a limit; they wake no launcher.", "connection"),
		lacking:  desc("claims_without_job", "Claims whose Job is missing, including those within the grace for creating it.", "connection"),
		silent:   desc("heartbeats_due", "Claims whose Job waits and that need a heartbeat, which wakes a launcher.", "connection"),
		troubled: desc("jobs_in_trouble", "Jobs that need a launcher now or later, because something is wrong with them.", "connection", "kind"),
		stuck:    desc("runs_stuck", "Claimed runs that have waited for their Job, or for its pod to start, for longer than the grace, by what they wait for. Those with a Job wait for ever unless PREFECT_KEDA_PENDING_TIMEOUT is set, and wake no launcher.", "connection", "kind"),
		longest:  desc("runs_stuck_longest_seconds", "How long the one that has waited longest has waited; 0 if none does.", "connection", "kind"),
		demand:   desc("demand", "Runs, claims and Jobs that need a launcher.", "scaled_object"),
		value:    desc("metric_value", "The metric as told to KEDA.", "scaled_object"),
		active:   desc("active", "1 while the ScaledObject is told to be active.", "scaled_object"),
		untaken:  desc("runs_untaken", "Due runs, if no launcher has taken any for more than a minute since the ScaledObject became active: the launcher does not come up, or takes no runs.", "scaled_object"),
		since:    desc("runs_untaken_seconds", "How long no launcher has taken any of them; 0 if there are none.", "scaled_object"),
		asking:   desc("last_asked_timestamp_seconds", "When KEDA last asked.", "scaled_object"),
		failing:  desc("watch_failing", "1 while the watch of Jobs or pods in a namespace of Jobs fails, or the namespace itself cannot be read; what happens to them goes unseen. The log says why.", "jobs_namespace", "resource"),
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		g.age, g.stale, g.wanted, g.failures, g.due, g.unserved, g.overdue, g.held, g.lacking, g.silent, g.troubled, g.stuck, g.longest,
		g.demand, g.value, g.active, g.asking, g.untaken, g.since, g.failing,
	} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(c chan<- prometheus.Metric) {
	now := time.Now()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	g.collectWatches(gauge)
	all := g.service.registry.all()
	for name, p := range g.service.pollers {
		s := p.current.Load()
		gauge(g.failures, float64(s.Failures), name)
		gauge(g.wanted, float64(p.asked.Load())/1e9, name)
		stale := 0.0
		if s.usable(name, p.options.MaxStaleness, now) != nil {
			stale = 1
		}
		gauge(g.stale, stale, name)
		if s.At.IsZero() {
			continue
		}
		due := 0
		for _, group := range s.Groups {
			due += after(group.Due, now)
		}
		held := 0
		for _, group := range s.Held {
			held += group.Runs
		}
		unserved, longest := 0, time.Duration(0)
		for _, group := range p.unserved(s, all, now) {
			unserved += after(group.Due, now)
			// Prefect may give a run no time; nobody knows for how long that has been due.
			if i := slices.IndexFunc(group.Due, func(t time.Time) bool { return !t.IsZero() }); i >= 0 {
				longest = max(longest, now.Sub(group.Due[i]))
			}
		}
		gauge(g.unserved, float64(unserved), name)
		gauge(g.overdue, longest.Seconds(), name)
		gauge(g.held, float64(held), name)
		gauge(g.age, now.Sub(s.At).Seconds(), name)
		gauge(g.due, float64(due), name)
		gauge(g.lacking, float64(len(s.WithoutJob)), name)
		gauge(g.silent, float64(len(s.heartbeatsDue(now))), name)
		kinds := map[trouble.Kind]int{}
		for _, d := range s.Troubled {
			kinds[d.Kind]++
		}
		for _, k := range trouble.Kinds() {
			gauge(g.troubled, float64(kinds[k]), name, string(k))
		}
		if len(p.watch.namespaces) > 0 {
			g.collectStuck(gauge, p, s, now)
		}
	}

	// Several triggers of one ScaledObject share its series, as they share its launchers.
	objects := map[string]map[*prometheus.Desc]float64{}
	for _, so := range all {
		name := so.String()
		if objects[name] == nil {
			objects[name] = map[*prometheus.Desc]float64{g.active: 0}
		}
		o := objects[name]
		u := g.service.untakenOf(so, now)
		v, _ := g.service.peek(so, now) // where KEDA gets an error, there is no demand to tell of
		o[g.demand] += float64(v.Demand())
		o[g.value] += float64(v.Value)
		o[g.asking] = max(o[g.asking], float64(so.asked.Load())/1e9)
		o[g.untaken] += float64(u.Runs)
		o[g.since] = max(o[g.since], u.For.Seconds())
		if v.Active {
			o[g.active] = 1
		}
	}
	for name, o := range objects {
		for desc, value := range o {
			gauge(desc, value, name)
		}
	}
}

func (g *gauges) collectStuck(gauge func(*prometheus.Desc, float64, ...string), p *poller, s *snapshot, now time.Time) {
	runs, longest := map[trouble.Kind]int{}, map[trouble.Kind]time.Duration{}
	for _, r := range s.stuckRuns(p.watch.rules.Grace, now) {
		runs[r.Kind]++
		longest[r.Kind] = max(longest[r.Kind], now.Sub(r.Since))
	}
	for _, k := range stuckKinds() {
		gauge(g.stuck, float64(runs[k]), p.name, string(k))
		gauge(g.longest, longest[k].Seconds(), p.name, string(k))
	}
}

// collectWatches shows what cannot be read now. The watches of two backends may have a
// namespace in common, which fails while either does.
func (g *gauges) collectWatches(gauge func(*prometheus.Desc, float64, ...string)) {
	type read struct {
		namespace string
		part      informer.Part
	}
	failing := map[read]float64{}
	for _, p := range g.service.pollers {
		for name, n := range p.watch.namespaces {
			for _, part := range []informer.Part{informer.Jobs, informer.Pods, informer.Namespace} {
				is := 0.0
				if n.Err(part) != nil {
					is = 1
				}
				failing[read{name, part}] = max(failing[read{name, part}], is)
			}
		}
	}
	for of, is := range failing {
		gauge(g.failing, is, of.namespace, string(of.part))
	}
}
