package main

import (
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/kube"
)

// recorder is a registry that remembers what is registered, of which a real one
// shows only what has been counted.
type recorder struct {
	*prometheus.Registry
	collectors []prometheus.Collector
}

func (r *recorder) Register(c prometheus.Collector) error {
	err := r.Registry.Register(c)
	if err == nil {
		r.collectors = append(r.collectors, c)
	}
	return err
}

func (r *recorder) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		if err := r.Register(c); err != nil {
			panic(err)
		}
	}
}

// metric is a row of the page.
type metric struct{ Name, Kind, Labels, Help string }

func (r *recorder) metrics(t *testing.T) []metric {
	t.Helper()
	described := regexp.MustCompile(`^Desc\{fqName: "(.*)", help: "(.*)", unit: ".*", constLabels: \{.*\}, variableLabels: \{(.*)\}\}$`)
	var all []metric
	for _, c := range r.collectors {
		kind := "gauge" // what collects for itself has gauges only
		switch c.(type) {
		case *prometheus.CounterVec, prometheus.Counter:
			kind = "counter"
		case *prometheus.HistogramVec, prometheus.Histogram:
			kind = "histogram"
		}
		if _, is := c.(prometheus.Gauge); is {
			kind = "gauge" // which has a counter's methods too
		}
		descriptions := make(chan *prometheus.Desc, 100)
		c.Describe(descriptions)
		close(descriptions)
		for d := range descriptions {
			m := described.FindStringSubmatch(d.String())
			if m == nil {
				t.Fatalf("%s is described in a new way", d)
			}
			all = append(all, metric{m[1], kind, strings.ReplaceAll(m[3], ",", ", "), m[2]})
		}
	}
	slices.SortFunc(all, func(a, b metric) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// TestMetricsDocument compares docs/metrics.md with what the processes register.
func TestMetricsDocument(t *testing.T) {
	const path = "../../docs/metrics.md"
	env := parseEnviron([]string{"PREFECT__BACKEND=server"})
	l, err := config.LoadLauncher(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	s, err := config.LoadScaler(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	ofScaler, ofLauncher := &recorder{Registry: prometheus.NewRegistry()}, &recorder{Registry: prometheus.NewRegistry()}
	client, err := kube.NewClient(&rest.Config{Host: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := buildScaler(s, client, nil, nil, log, ofScaler); err != nil {
		t.Fatal(err)
	}
	if _, err := buildLauncher(l, client, nil, log, ofLauncher); err != nil {
		t.Fatal(err)
	}
	both, scalers, launchers := []metric{}, []metric{}, []metric{}
	for _, m := range ofScaler.metrics(t) {
		if slices.Contains(ofLauncher.metrics(t), m) {
			both = append(both, m)
		} else {
			scalers = append(scalers, m)
		}
	}
	for _, m := range ofLauncher.metrics(t) {
		if !slices.Contains(both, m) {
			launchers = append(launchers, m)
		}
	}
	both = append(both, metric{"prefect_keda_build_info", "gauge", "version", "1, with the version."})
	if len(both) < 2 || len(scalers) < 10 || len(launchers) < 5 {
		t.Fatalf("found %d, %d and %d metrics", len(both), len(scalers), len(launchers))
	}

	var out strings.Builder
	out.WriteString(`# Metrics and health

<!-- Rendered from the registries by ` + "`make generate`" + `; do not edit. -->

Both processes serve /metrics, /livez and /readyz at ` + "`PREFECT_KEDA_OPS_LISTEN`" + ` (port 8080). Besides what is below there are Go's own metrics
(` + "`go_*`, `process_*`" + `). A launcher may be gone before it is scraped, and ` + "`rate` and `increase`" + ` miss what it did before its first scrape;
its last log line has its totals.

## Health

| where | says |
|---|---|
| scaler: gRPC health service ` + "`liveness`" + `, /livez | its poll loops turn, whatever Prefect and Kubernetes do. A restart is good for nothing else |
| scaler: gRPC health service ` + "`readiness`" + ` (and the one without a name), /readyz | it takes calls: it listens and is not shutting down. It does not depend on Prefect either, since only a scaler that is reached can tell KEDA what is wrong. While permissions are missing at its start in all namespaces of Jobs, or those are not there, it is not ready, and /readyz says so; what is taken away later shows in its log (` + "`watching Kubernetes failed`" + `) and in ` + "`prefect_keda_scaler_watch_failing`" + ` |
| scaler: gRPC health service ` + "`upstream`" + ` | the answers of every connection are fresh enough to be served. For alerts, not for probes |
| launcher: /livez | its loop turns |
| launcher: /readyz | the same, and its permissions are there, for which it waits at its start |
| launcher: /api/health, if ` + "`PREFECT__CLOUD__AGENT__AGENT_ADDRESS`" + ` is set | the same, as the agent spelt it; /api/poke has it look for due runs at once, or a second after the last time it did |
`)
	for _, section := range []struct {
		title   string
		metrics []metric
	}{{"Both processes", both}, {"Scaler", scalers}, {"Launcher", launchers}} {
		fmt.Fprintf(&out, "\n## %s\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n", section.title)
		for _, m := range section.metrics {
			fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", m.Name, m.Kind, m.Labels, m.Help)
		}
	}
	if *update {
		if err := os.WriteFile(path, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(out.String(), string(got)); d != "" {
		t.Errorf("docs/metrics.md is not what is registered; run `make generate`:\n%s", d)
	}
}
