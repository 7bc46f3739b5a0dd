package scaler

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/scaler/hour"
	"github.com/prefect-keda/prefect-keda/scaler/page"
)

// launched is a Job with its launcher's note, and its pod.
func launched(id string, due time.Time, labels ...string) (*batchv1.Job, *corev1.Pod) {
	j := kubeJob("job-"+id, id, "v1")
	j.UID, j.CreationTimestamp = types.UID("uid-"+id), metav1.NewTime(due.Add(time.Second))
	r := prefect.FlowRun{Name: "name-" + id, FlowName: "etl", Due: due, Place: prefect.Place{Labels: labels}}
	pod := kubePod("job-"+id, id, nil)
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(j, batchv1.SchemeGroupVersion.WithKind("Job"))}
	return job.LaunchOf(r, due.Add(500*time.Millisecond), due.Add(time.Second)).On(j), pod
}

// What the scaler sees of a run is on its page: due, launchers, its Job, and how long each step took.
func TestLastHourIsRemembered(t *testing.T) {
	f, kube := &fakeSource{}, fakeKube()
	o := withJobs(f, kube)
	c := o.Connections["default"]
	c.RunURL = func(id string) string { return "https://ui/" + id }
	c.Replaces = Process{"Prefect agent", 92_000_000}
	o.Connections["default"] = c
	inBubble(t, o, func(t *testing.T, s *Server) {
		remember := func(d time.Duration) {
			for range d / time.Second {
				pass(time.Second)
				s.service.remember(time.Now())
			}
		}
		latest := func(name string) hour.Sample {
			line, _ := s.service.timelines.Of(name, time.Now())
			return line.Samples[hour.Kept-1]
		}
		wantActive(t, s, false, "labels=etl")
		remember(20 * time.Second)
		due := time.Now()
		f.set(run("r1", due, "etl"), run("r2", due, "gpu"))
		remember(4 * time.Second)
		wantActive(t, s, true, "labels=etl")
		if diff := cmp.Diff(hour.Sample{Known: true, Due: 1, Demand: 1, Launchers: 1}, latest("flows/etl")); diff != "" {
			t.Errorf("due (-want +got):\n%s", diff)
		}
		f.set()
		j, pod := launched("r1", due, "etl")
		other, _ := launched("r2", due, "gpu")
		put(t, kube, j)
		put(t, kube, other)
		put(t, kube, pod)
		remember(20 * time.Second)
		if diff := cmp.Diff(hour.Sample{Known: true, Waiting: 1}, latest("flows/etl")); diff != "" {
			t.Errorf("waiting for its pod (-want +got):\n%s", diff)
		}
		pod = pod.DeepCopy()
		pod.Status.Phase = corev1.PodRunning
		put(t, kube, pod)
		began := time.Now()
		remember(20 * time.Second)
		if diff := cmp.Diff(hour.Sample{Known: true, Running: 1}, latest("flows/etl")); diff != "" {
			t.Errorf("running (-want +got):\n%s", diff)
		}
		rep := s.service.report(time.Now())
		want := page.Launched{
			FlowRun: "r1", Noted: true, Name: "name-r1", Flow: "etl", Place: page.Place{Labels: page.List[string]{"etl"}}, Namespace: "flows", Job: "job-r1",
			Due: due, Claimed: due.Add(500 * time.Millisecond), Created: due.Add(time.Second), Running: began, Stage: hour.Running,
		}
		got := rep.Connections[0].Launched
		if diff := cmp.Diff([]page.Launched{want}, got[:1]); diff != "" || len(got) != 2 {
			t.Errorf("%d last runs (-want +got):\n%s", len(got), diff)
		}
		saved := page.SavedOf{
			Connection: "default", Replaces: "Prefect agent", ReplacedBytes: 92_000_000,
			ReplacedFor: (63 * time.Second).Hours(), LaunchersFor: (43 * time.Second).Hours(), // since it was wanted first
		}
		if diff := cmp.Diff(page.List[page.SavedOf]{saved}, rep.Saved.Of); diff != "" {
			t.Errorf("saved (-want +got):\n%s", diff)
		}
	})
}

// The page may use its own style and nothing else, and nobody keeps it.
func TestHeadersOfThePage(t *testing.T) {
	s, err := New(options(&fakeSource{}))
	if err != nil {
		t.Fatal(err)
	}
	for accept, want := range map[string]http.Header{
		"text/html": {
			"Cache-Control": {"no-store"}, "Content-Type": {"text/html; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"},
			"Referrer-Policy": {"no-referrer"}, "Content-Security-Policy": {page.Policy()},
		},
		"*/*": {"Cache-Control": {"no-store"}, "Content-Type": {"application/json"}, "X-Content-Type-Options": {"nosniff"}},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/debug/demand", nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		s.Debug().ServeHTTP(w, r)
		if diff := cmp.Diff(want, w.Header()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", accept, diff)
		}
	}
	if !strings.HasPrefix(page.Policy(), "default-src 'none'; style-src 'sha256-") || strings.Contains(page.Policy(), "unsafe") {
		t.Errorf("policy %q", page.Policy())
	}
}

// BenchmarkRemember compares a round for 1,000 ScaledObjects with the verdicts that it asks for.
func BenchmarkRemember(b *testing.B) {
	s, err := New(options(&fakeSource{}))
	if err != nil {
		b.Fatal(err)
	}
	p := s.service.pollers["default"]
	p.publish(p.picture(largeLook(), time.Now(), time.Now()))
	for i := range 1000 {
		so := &scaledObject{namespace: "flows", name: fmt.Sprint("etl-", i), metadata: map[string]string{"i": fmt.Sprint(i)}}
		so.trigger = trigger{Connection: "default", RunsPerLauncher: 100, Scope: prefect.Scope{Pools: []string{fmt.Sprint("pool-", i)}}}
		s.service.registry.keep(so, time.Now())
	}
	all := s.service.registry.all()
	var bare time.Duration
	now := time.Now()
	for b.Loop() {
		began := time.Now()
		for _, so := range all {
			_, _ = s.service.peek(so, now)
		}
		bare += time.Since(began)
		s.service.remember(now)
		now = now.Add(time.Second)
	}
	b.ReportMetric(float64(b.Elapsed()-bare)/float64(bare), "x/verdicts")
}

// A trigger of work pools does the work of a worker for each.
func TestTriggersReplaceAWorkerForEachPool(t *testing.T) {
	for n, pools := range map[int][]string{1: nil, 2: {"a", "b"}} {
		if got := (trigger{Scope: prefect.Scope{Pools: pools}}).replaces(); got != n {
			t.Errorf("pools %q: %d, want %d", pools, got, n)
		}
	}
}

// The runs that wait longest are those for a launcher, for their Job and for their pod together.
func TestRunsThatWaitLongest(t *testing.T) {
	now := noon
	s := newSnapshot(prefect.Observation{Due: []prefect.DueRun{
		run("later", now.Add(time.Second)), run("always", time.Time{}), run("an hour", now.Add(-time.Hour), "etl"), run("a minute", now.Add(-time.Minute)),
	}}, now)
	place := &prefect.Place{Labels: []string{"gpu"}}
	for i := range 2 * maxLongest {
		s.Stuck = append(s.Stuck, stuckRun{stuck{Namespace: "flows", Run: "stuck"}, place})
		s.Stuck[i].Kind, s.Stuck[i].Since = "unschedulable", now.Add(-30*time.Minute+time.Duration(i)*time.Second)
	}
	got := s.longest(time.Minute, now)
	if len(got) != maxLongest {
		t.Fatalf("%d runs", len(got))
	}
	want := []page.Wait{
		{FlowRun: "an hour", Place: page.Place{Labels: page.List[string]{"etl"}}, For: "a launcher", Since: now.Add(-time.Hour)},
		{FlowRun: "stuck", Place: page.Place{Labels: page.List[string]{"gpu"}}, For: "its pod: no node takes its pod", Since: now.Add(-30 * time.Minute)},
	}
	if diff := cmp.Diff(want, got[:2]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	s.Stuck = nil
	got = s.longest(time.Minute, now)
	if len(got) != 2 || got[1].FlowRun != "a minute" {
		t.Errorf("without stuck runs: %+v", got)
	}
}

// Everything that runs can wait for is said in words.
func TestKindsOfWaitingHaveAMeaning(t *testing.T) {
	for _, k := range stuckKinds() {
		if page.Meaning(k) == "" {
			t.Errorf("%s has no words", k)
		}
	}
}
