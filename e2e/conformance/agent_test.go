//go:build conformance

package conformance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apifields "k8s.io/apimachinery/pkg/fields"

	"github.com/prefect-keda/prefect-keda/e2e/reach"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// kubernetes is as much of a Kubernetes API as the agent asks for.
type kubernetes struct {
	mu     sync.Mutex
	jobs   map[string]*batchv1.Job
	pods   []corev1.Pod
	events []corev1.Event
}

// selected are the objects that a request's selectors choose.
func selected[T any](t []T, selector string, of func(T) apifields.Set) []T {
	chosen := []T{} // never null, which the Python client refuses
	parsed, err := apifields.ParseSelector(selector)
	for _, o := range t {
		if err == nil && parsed.Matches(of(o)) {
			chosen = append(chosen, o)
		}
	}
	return chosen
}

func (k *kubernetes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	switch {
	case r.Method == http.MethodPost && name == "jobs":
		var j batchv1.Job
		if err := json.NewDecoder(r.Body).Decode(&j); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		k.jobs[j.Name] = &j
		w.WriteHeader(http.StatusCreated)
		json.NewEncoder(w).Encode(j)
	case r.Method == http.MethodGet && name == "jobs":
		list := batchv1.JobList{Items: []batchv1.Job{}}
		for _, j := range k.jobs {
			list.Items = append(list.Items, *j)
		}
		json.NewEncoder(w).Encode(list)
	case r.Method == http.MethodGet && name == "pods":
		byLabel := func(p corev1.Pod) apifields.Set { return apifields.Set(p.Labels) }
		json.NewEncoder(w).Encode(corev1.PodList{Items: selected(k.pods, r.URL.Query().Get("labelSelector"), byLabel)})
	case r.Method == http.MethodGet && name == "events":
		byObject := func(e corev1.Event) apifields.Set { return apifields.Set{"involvedObject.name": e.InvolvedObject.Name} }
		json.NewEncoder(w).Encode(corev1.EventList{Items: selected(k.events, r.URL.Query().Get("fieldSelector"), byObject)})
	case r.Method == http.MethodDelete:
		delete(k.jobs, name)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Success"}`)
	default:
		http.NotFound(w, r)
	}
}

// agent runs the real agent for a few polls.
func agent(t *testing.T, api string, k *kubernetes, polls int, args ...string) string {
	t.Helper()
	server := httptest.NewServer(k)
	t.Cleanup(server.Close)
	args = append([]string{"-m", "prefect", "agent", "kubernetes", "start", "--max-polls", fmt.Sprint(polls), "--namespace", "flows"}, args...)
	return prefect(t, api, []string{kubeconfig(t, server.URL)}, args...)
}

// kubeconfig is the variable that leads to a Kubernetes API.
func kubeconfig(t *testing.T, url string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := reach.WriteKubeconfig(path, url); err != nil {
		t.Fatal(err)
	}
	return "KUBECONFIG=" + path
}

func TestRealAgent(t *testing.T) {
	t.Run("submits a due run with its labels, creates its Job, says so in its log", func(t *testing.T) {
		api, k := prefecttest.New(prefecttest.Options{}), &kubernetes{jobs: map[string]*batchv1.Job{}}
		ours := api.CreateRuns(prefecttest.Order{Labels: []string{"a"}, RunConfig: map[string]any{"type": "UniversalRun", "labels": []any{"a"}, "env": map[string]any{"X": "1"}}})[0]
		other := api.CreateRuns(prefecttest.Order{Labels: []string{"b"}})[0]
		agent(t, api.Start(t), k, 3, "--label", "a")
		if len(k.jobs) != 1 {
			t.Fatalf("%d Jobs, want 1", len(k.jobs))
		}
		for name, j := range k.jobs {
			if got := j.Labels["prefect.io/flow_run_id"]; got != ours {
				t.Errorf("the Job is for run %s, want %s", got, ours)
			}
			r := api.Runs(ours)[0]
			if diff := cmp.Diff([]string{"Scheduled", "Submitted"}, history(r)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(r.Logs) != 1 || r.Logs[0].Message != "Submitted for execution: Job "+name {
				t.Errorf("log: %v", r.Logs)
			}
		}
		if got := api.Runs(other)[0].State; got != "Scheduled" {
			t.Errorf("the run of other labels is %s", got)
		}
	})
	t.Run("fails a run whose run config it does not support", func(t *testing.T) {
		api, k := prefecttest.New(prefecttest.Options{}), &kubernetes{jobs: map[string]*batchv1.Job{}}
		id := api.CreateRuns(prefecttest.Order{RunConfig: map[string]any{"type": "LocalRun", "labels": []any{}}})[0]
		agent(t, api.Start(t), k, 3)
		r := api.Runs(id)[0]
		want := "Flow run " + id + " has a `run_config` of type `LocalRun`, only `KubernetesRun` is supported"
		if r.State != "Failed" || r.Message != want || len(k.jobs) != 0 {
			t.Errorf("%s %q, %d Jobs", r.State, r.Message, len(k.jobs))
		}
	})
	t.Run("two agents do not submit one run twice", func(t *testing.T) {
		api, k := prefecttest.New(prefecttest.Options{}), &kubernetes{jobs: map[string]*batchv1.Job{}}
		api.CreateRuns(prefecttest.Order{Count: 5})
		url := api.Start(t)
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() { agent(t, url, k, 3) })
		}
		both.Wait()
		if len(k.jobs) != 5 {
			t.Errorf("%d Jobs for 5 runs", len(k.jobs))
		}
	})
	t.Run("tells of failed pods and deletes their Job", func(t *testing.T) {
		api, k := prefecttest.New(prefecttest.Options{}), &kubernetes{jobs: map[string]*batchv1.Job{}}
		id := api.CreateRuns(prefecttest.Order{})[0]
		if err := api.SetState(id, map[string]any{"type": "Running"}); err != nil {
			t.Fatal(err)
		}
		// The Python client refuses objects without containers.
		pod := corev1.PodSpec{Containers: []corev1.Container{{Name: "flow", Image: "flow:test"}}}
		j := &batchv1.Job{Status: batchv1.JobStatus{Failed: 1}, Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: pod}}}
		j.Name, j.Labels = "job-1", map[string]string{"prefect.io/identifier": "1", "prefect.io/flow_run_id": id}
		k.jobs[j.Name] = j
		p := corev1.Pod{Spec: pod, Status: corev1.PodStatus{Phase: corev1.PodFailed}}
		p.Name, p.Labels = "job-1-x", j.Labels
		k.pods = []corev1.Pod{p}
		out := agent(t, api.Start(t), k, 3, "--log-level", "DEBUG")
		r := api.Runs(id)[0]
		if want := "Kubernetes Error: pods ['job-1-x'] failed for this job"; r.State != "Failed" || r.Message != want || len(k.jobs) != 0 {
			t.Errorf("%s %q, %d Jobs", r.State, r.Message, len(k.jobs))
		}
		if !slices.ContainsFunc(r.Logs, func(l prefecttest.LogLine) bool { return strings.HasPrefix(l.Message, "Pod job-1-x failed.") }) {
			t.Errorf("log: %v; the agent says:\n%s", r.Logs, out)
		}
	})
}
