package launcher

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/admission"
	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/jobs"
)

func TestNewNamesAllProblems(t *testing.T) {
	_, err := New(Options{Namespace: "Flows!", DrainTimeout: -1, Concurrency: -2, MaxPolls: -1, PollInterval: time.Hour}, nil, nil, func(string) jobs.Client { return jobs.Client{} })
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"no name", `namespace "Flows!"`, "drain timeout -1ns", "concurrency -2", "maximum of polls -1",
		"poll interval 1h0m0s must be shorter than the idle timeout 15m0s", "no label", "no backend", "no renderer", "no Kubernetes client", "no Kubernetes client for pods",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
}

// Who stays never leaves for idleness, and any interval between two looks will do.
func TestLauncherStays(t *testing.T) {
	skipLong(t) // two days of looks
	for _, interval := range []time.Duration{time.Second, time.Hour} {
		bubble(t, func(t *testing.T) {
			b := start(t, newMemory(), func(o *Options, _ *fake.Clientset) { o.Stays, o.PollInterval = true, interval })
			const day = 24 * time.Hour
			select {
			case err := <-b.ended:
				t.Fatalf("left after %s: %v", time.Since(b.began), err)
			case <-time.After(day):
			}
			if got, least := b.m.count("due"), int(day/interval); got < least {
				t.Errorf("looked %d times in a day, want at least %d", got, least)
			}
			b.stop()
			if !strings.Contains(b.logs.String(), "stays=true") || !strings.Contains(b.logs.String(), "reason=drained") {
				t.Errorf("the log does not say that it stays until it is stopped:\n%s", b.logs)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	synctest.Test(t, func(t *testing.T) {
		due := time.Now().Add(3 * time.Second)
		wrong := run("wrong")
		wrong.runConfig("wrong")
		o := options("me")
		o.Registerer = registry
		l := mustNew(t, o, newMemory(run("r").due(due), wrong), fake.NewClientset())
		if err := l.Run(t.Context()); err != nil {
			t.Error(err)
		}
	})
	got := map[string]float64{}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "prefect_keda_launcher_")
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			switch {
			case m.Counter != nil:
				got[name] = m.GetCounter().GetValue()
			case m.Gauge != nil:
				got[name] = m.GetGauge().GetValue()
			case m.Histogram != nil:
				got[name+" count"] = float64(m.GetHistogram().GetSampleCount())
				got[name+" sum"] = m.GetHistogram().GetSampleSum()
			}
		}
	}
	want := map[string]float64{
		"start_delay_seconds count": 1, "start_delay_seconds sum": 0,
		"actions_total launch done": 1, "actions_total launch failed": 1,
		"claims_total won": 2, "claims_total lost": 0, "claims_total not_now": 0, "claims_total unknown": 0,
		"consecutive_failures job_template": 0, "consecutive_failures kubernetes": 0, "consecutive_failures prefect": 0, "consecutive_failures prefect_claims": 0, "consecutive_failures prefect_jobs": 0, "consecutive_failures prefect_agent": 0,
		"in_hand_runs": 0, "log_lines_dropped_total": 0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := mustNew(t, options("me"), newMemory(), fake.NewClientset())
		if err := l.Live(); err != nil {
			t.Errorf("before it runs: %v", err)
		}
		// Nothing answers any more; the loop turns all the same.
		slow := newMemory()
		slow.latency = time.Hour
		l.backend = slow
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		for range 20 {
			time.Sleep(10 * time.Second)
			if err := l.Live(); err != nil {
				t.Errorf("while Prefect does not answer: %v", err)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		l.ticked.Store(time.Now().Add(-time.Minute).UnixNano())
		if err := l.Live(); err == nil {
			t.Error("a loop that has not turned for a minute is called live")
		}
	})
}

func TestStaleReadIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct {
			name string
			now  *runBuilder
			age  time.Duration
			want string
		}{
			{"cancelled since", stateOf(run("r").version(2), "Cancelled"), 1100 * time.Millisecond, overtaken},
			{"rescheduled since", run("r").version(2), 1100 * time.Millisecond, overtaken},
			{"the same", run("r"), 1100 * time.Millisecond, done},
			{"read just now", run("r"), 900 * time.Millisecond, done},
		} {
			m, st := newMemory(tc.now), emptyStore()
			y := &eyes{memory: m, store: st, actor: "me"}
			l := newLauncher(Options{Name: "me", Namespace: "flows", Marks: kubernetesrun.Marks()}.withDefaults(), y, template{}, y)
			o := carriedOut(t, l, Action{Kind: Launch, Run: run("r").readAt(time.Now().Add(-tc.age)).FlowRun})
			if o.result != tc.want {
				t.Errorf("%s: %s, want %s", tc.name, o.result, tc.want)
			}
			if reads, want := m.count("read") > 0, tc.age > claims.MaxAge; reads != want {
				t.Errorf("%s: read again: %v, want %v", tc.name, reads, want)
			}
			if tc.want != done && (len(m.writes) > 0 || len(st.created) > 0) {
				t.Errorf("%s: wrote %q, created %q", tc.name, m.writes, st.created)
			}
		}
	})
}

func stateOf(r *runBuilder, s string) *runBuilder {
	r.State = inState(s)
	return r
}

func TestSecretsAreHiddenInTheAuthorsYAML(t *testing.T) {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "j"}}
	j.Spec.Template.Spec.Containers = []corev1.Container{{
		Name: "flow",
		Env: []corev1.EnvVar{
			{Name: "PREFECT__CLOUD__API_KEY", Value: "canary-1"},
			{Name: "DATABASE_URL", Value: "canary-2"},
			{Name: "PREFECT__CONTEXT__SECRETS__X", Value: "canary-4"},
			{Name: "PREFECT__LOGGING__LEVEL", Value: "shown"},
			{Name: "PREFECT__CLOUD__API", Value: "http://user:canary-5@proxy"},
		},
	}}
	j.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "init", Env: []corev1.EnvVar{{Name: "aws_secret", Value: "canary-3"}}}}
	text := admission.AsYAML(j)
	if strings.Contains(text, "canary") || !strings.Contains(text, "shown") || !strings.Contains(text, "[hidden]") {
		t.Errorf("the YAML:\n%s", text)
	}
	if j.Spec.Template.Spec.Containers[0].Env[0].Value != "canary-1" {
		t.Error("the Job itself was changed")
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
