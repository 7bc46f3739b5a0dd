package scaler

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/scaler/page"
)

func pushes(t *testing.T, m *metrics) (n int) {
	t.Helper()
	for _, k := range []kind{opening, edge, repeat} {
		n += int(testutil.ToFloat64(m.activations.WithLabelValues(string(k))))
	}
	return n
}

func TestMetricsSayWhatKEDAIsTold(t *testing.T) {
	f := &fakeSource{due: append(dues(3, "etl"), dues(1)...)}
	o := bubbleOptions(f)
	registry := prometheus.NewPedanticRegistry()
	o.Registerer = registry
	inBubble(t, o, func(t *testing.T, s *Server) {
		open(t, s, func(*fakeStream) {
			wantActive(t, s, true, "labels=etl", "maxLaunchers=1", "runsPerLauncher=2")
			if _, err := active(t, s, "connection=none"); err == nil {
				t.Fatal("no error")
			}
			want := `
# HELP prefect_keda_scaler_active 1 while the ScaledObject is told to be active.
# TYPE prefect_keda_scaler_active gauge
prefect_keda_scaler_active{scaled_object="flows/etl"} 1
# HELP prefect_keda_scaler_demand Runs, claims and Jobs that need a launcher.
# TYPE prefect_keda_scaler_demand gauge
prefect_keda_scaler_demand{scaled_object="flows/etl"} 4
# HELP prefect_keda_scaler_due_runs Due runs at any place.
# TYPE prefect_keda_scaler_due_runs gauge
prefect_keda_scaler_due_runs{connection="default"} 4
# HELP prefect_keda_scaler_metric_value The metric as told to KEDA.
# TYPE prefect_keda_scaler_metric_value gauge
prefect_keda_scaler_metric_value{scaled_object="flows/etl"} 3
# HELP prefect_keda_scaler_streams Open StreamIsActive calls.
# TYPE prefect_keda_scaler_streams gauge
prefect_keda_scaler_streams 1
# HELP prefect_keda_scaler_activations_total Activations pushed to KEDA, by their reason.
# TYPE prefect_keda_scaler_activations_total counter
prefect_keda_scaler_activations_total{reason="open"} 1
`
			if err := testutil.GatherAndCompare(registry, strings.NewReader(want),
				"prefect_keda_scaler_active", "prefect_keda_scaler_demand", "prefect_keda_scaler_due_runs",
				"prefect_keda_scaler_metric_value", "prefect_keda_scaler_streams", "prefect_keda_scaler_activations_total"); err != nil {
				t.Error(err)
			}
		})
	})
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "register the scaler's metrics") {
		t.Errorf("registering twice: %v", err)
	}
}

func TestLatencyIsMeasuredFromTheDueTime(t *testing.T) {
	m := newMetrics()
	m.pushed(edge, noon, at(1500*time.Millisecond))
	m.pushed(edge, noon, at(-10*time.Second)) // in good time
	m.pushed(opening, noon, at(time.Hour))    // nobody was there to be told
	want := `
# HELP prefect_keda_scaler_activation_latency_seconds From the due time of the earliest run to the push, 0 when the push came first.
# TYPE prefect_keda_scaler_activation_latency_seconds histogram
prefect_keda_scaler_activation_latency_seconds_bucket{le="0.01"} 1
prefect_keda_scaler_activation_latency_seconds_bucket{le="0.1"} 1
prefect_keda_scaler_activation_latency_seconds_bucket{le="0.5"} 1
prefect_keda_scaler_activation_latency_seconds_bucket{le="1"} 1
prefect_keda_scaler_activation_latency_seconds_bucket{le="2"} 2
prefect_keda_scaler_activation_latency_seconds_bucket{le="5"} 2
prefect_keda_scaler_activation_latency_seconds_bucket{le="10"} 2
prefect_keda_scaler_activation_latency_seconds_bucket{le="30"} 2
prefect_keda_scaler_activation_latency_seconds_bucket{le="60"} 2
prefect_keda_scaler_activation_latency_seconds_bucket{le="+Inf"} 2
prefect_keda_scaler_activation_latency_seconds_sum 1.5
prefect_keda_scaler_activation_latency_seconds_count 2
`
	if err := testutil.CollectAndCompare(m.latency.(prometheus.Collector), strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestDebugTellsWhy(t *testing.T) {
	f := &fakeSource{claim: []prefect.ClaimedRun{claimed("r1", "job-1", "v3")}}
	inBubble(t, withJobs(f, fakeKube()), func(t *testing.T, s *Server) {
		began := time.Now()
		f.set(run("run-1", began, "etl"), run("run-2", began.Add(time.Hour), "etl"), run("run-<b>", began, "gpu"))
		pass(8 * time.Second)
		wantActive(t, s, true, "labels=etl")
		if _, err := active(t, s, "label=etl"); err == nil {
			t.Fatal("no error")
		}
		f.change(func(f *fakeSource) { f.err = errors.New("<502>") })
		pass(2 * time.Second)

		var got page.Report
		text := demandOf(t, s, "*/*")
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.ReplaceAll(text, `"next_wake": null`, ""), "null") {
			t.Errorf("an empty list is []:\n%s", text)
		}
		want := page.Report{
			ScaledObjects: []page.Object{
				{
					Namespace: "flows", Name: "etl", Connection: "default", Scope: page.Scope{Labels: []string{"etl"}},
					Active: true, Value: 2, Target: 100, Launchers: 1, Demand: 2, Due: 1, WithoutJob: 1, WarmUpLead: "10s",
					FirstRuns: []string{"run-1"}, Reason: "1 due, 1 claimed without a Job", MetadataSeen: []string{"labels", "scalerAddress"},
				},
			},
			Refused: []page.Refusal{{Namespace: "flows", Name: "etl", Err: `trigger metadata: unknown key "label", did you mean labels?`}},
			Connections: []page.Connection{{
				Name: "default", Err: "<502>",
				Unserved: []page.Unserved{{Place: page.Place{Labels: []string{"gpu"}}, Due: 1, FirstRuns: []string{"run-<b>"}}},
				WithoutJob: []page.Claim{{
					FlowRun: "r1", Place: page.Place{Labels: []string{"etl"}}, Launcher: "launcher-1", Namespace: "flows", Job: "job-1", Attempt: "v3",
				}},
				Longest: []page.Wait{
					{FlowRun: "run-1", Place: page.Place{Labels: []string{"etl"}}, For: "a launcher"},
					{FlowRun: "run-<b>", Place: page.Place{Labels: []string{"gpu"}}, For: "a launcher"},
				},
			}},
			Saved: page.Saved{ScalerBytes: scalerMemory, LauncherBytes: launcherMemory},
		}
		ignore := cmp.Options{
			cmpopts.EquateEmpty(),
			cmpopts.IgnoreTypes(time.Time{}),
			cmpopts.IgnoreFields(page.Connection{}, "Age", "Failures"),
		}
		if diff := cmp.Diff(want, got, ignore); diff != "" {
			t.Error(diff)
		}
		page := pageOf(t, s)
		for _, says := range []string{"flows/etl", "1 due, 1 claimed without a Job", "run-&lt;b&gt;", "&lt;502&gt;", "flows/job-1", "did you mean labels?"} {
			if !strings.Contains(page, says) {
				t.Errorf("the page does not say %q:\n%s", says, page)
			}
		}
	})
}

// demandOf is what /debug/demand answers.
func demandOf(t *testing.T, s *Server, accept string) string {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/debug/demand", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	s.Debug().ServeHTTP(w, r)
	return w.Body.String()
}

// cells is a page without its tags, each of which ends a cell.
func cells(page string) string {
	return regexp.MustCompile(`(<[^>]*>\s*)+`).ReplaceAllString(page, "|")
}

// pageOf is that for people, which has to be whole.
func pageOf(t *testing.T, s *Server) string {
	t.Helper()
	page := demandOf(t, s, "text/html,application/xhtml+xml")
	if !strings.HasSuffix(page, "</html>\n") {
		t.Errorf("the page breaks off:\n%s", page)
	}
	return page
}
