//go:build conformance

package conformance

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// register has the real client register the flows of a module.
func register(t *testing.T, url, module string, env ...string) map[string]string {
	t.Helper()
	out := prefect(t, url, env, "-m", module)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var ids map[string]string
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &ids); err != nil {
		t.Fatalf("register: %v\n%s", err, out)
	}
	return ids
}

// execute is what a flow-run pod does.
func execute(t *testing.T, url, id string, env ...string) string {
	t.Helper()
	return prefect(t, url, append([]string{
		"PREFECT__CONTEXT__FLOW_RUN_ID=" + id,
		"PREFECT__ENGINE__FLOW_RUNNER__DEFAULT_CLASS=prefect.engine.cloud.CloudFlowRunner",
		"PREFECT__ENGINE__TASK_RUNNER__DEFAULT_CLASS=prefect.engine.cloud.CloudTaskRunner",
		"PREFECT__CLOUD__SEND_FLOW_RUN_LOGS=true",
	}, env...), "-m", "prefect", "execute", "flow-run")
}

func history(r prefecttest.Run) []string {
	var types []string
	for _, s := range r.History {
		types = append(types, s.Type)
	}
	return types
}

func TestRealClient(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	url := api.Start(t)
	flows := register(t, url, "prefect_keda_flows.register")

	t.Run("a registered flow runs to Success, and its log arrives", func(t *testing.T) {
		id := api.CreateRuns(prefecttest.Order{FlowID: flows["hello"]})[0]
		execute(t, url, id)
		r := api.Runs(id)[0]
		if diff := cmp.Diff([]string{"Scheduled", "Running", "Success"}, history(r)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if !slices.ContainsFunc(r.Logs, func(l prefecttest.LogLine) bool { return strings.Contains(l.Message, "Flow run SUCCESS") }) {
			t.Errorf("the log lacks the flow run's end: %v", r.Logs)
		}
	})
	t.Run("a Submitted state is unwrapped and run", func(t *testing.T) {
		id := api.CreateRuns(prefecttest.Order{FlowID: flows["slow"], Parameters: map[string]any{"seconds": 0.1}})[0]
		if err := api.SetState(id, map[string]any{
			"type": "Submitted", "message": "Submitted for execution",
			"context": map[string]any{"prefect_keda": map[string]any{"job": "prefect-job-00000000"}},
			"state":   map[string]any{"type": "Scheduled", "start_time": time.Now().UTC().Format(time.RFC3339)},
		}); err != nil {
			t.Fatal(err)
		}
		execute(t, url, id)
		if diff := cmp.Diff([]string{"Scheduled", "Submitted", "Running", "Success"}, history(api.Runs(id)[0])); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("a failing flow ends Failed", func(t *testing.T) {
		id := api.CreateRuns(prefecttest.Order{FlowID: flows["failing"]})[0]
		execute(t, url, id)
		if diff := cmp.Diff([]string{"Scheduled", "Running", "Failed"}, history(api.Runs(id)[0])); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("a finished run is not run again", func(t *testing.T) {
		id := api.CreateRuns(prefecttest.Order{FlowID: flows["hello"]})[0]
		api.Cancel(id)
		if out := execute(t, url, id); !strings.Contains(out, "Flow run has already finished") {
			t.Errorf("the client says:\n%s", out)
		}
		if diff := cmp.Diff([]string{"Scheduled", "Cancelled"}, history(api.Runs(id)[0])); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("a run scheduled ahead does not start early", func(t *testing.T) {
		id := api.CreateRuns(prefecttest.Order{FlowID: flows["hello"], In: prefecttest.Duration(time.Hour)})[0]
		execute(t, url, id)
		if diff := cmp.Diff([]string{"Scheduled"}, history(api.Runs(id)[0])); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("the client creates flow runs, idempotently", func(t *testing.T) {
		before := len(api.Runs())
		prefect(t, url, nil, "-c", `
import prefect
client = prefect.Client()
ids = {client.create_flow_run(flow_id="`+flows["hello"]+`", run_name="twice", idempotency_key="k", labels=["z", "a"]) for _ in range(2)}
assert len(ids) == 1, ids
info = client.get_flow_run_info(ids.pop())
assert info.state.is_scheduled() and info.name == "twice" and len(info.task_runs) == 1, info`)
		runs := api.Runs()
		i := slices.IndexFunc(runs, func(r prefecttest.Run) bool { return r.Name == "twice" })
		if len(runs) != before+1 || i < 0 {
			t.Fatalf("%d runs more, want 1", len(runs)-before)
		}
		if diff := cmp.Diff([]string{"a", "z"}, runs[i].Labels); diff != "" {
			t.Errorf("labels (-want +got):\n%s", diff)
		}
	})
}

// What flows with more to them ask of the API: mapped task runs, which exist only
// once they run, retries, and a run that is cancelled while it runs.
func TestRealClientsTaskRuns(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	url := api.Start(t)
	flows := register(t, url, "conformance_flows")

	t.Run("mapped tasks", func(t *testing.T) {
		id := api.CreateRuns(prefecttest.Order{FlowID: flows["mapped"]})[0]
		execute(t, url, id)
		r := api.Runs(id)[0]
		// The list that is mapped over is a task of its own, beside the three and the sum.
		states := map[string]int{}
		for _, task := range r.TaskRuns {
			states[task.State]++
		}
		if diff := cmp.Diff(map[string]int{"Mapped": 1, "Success": 5}, states); diff != "" || r.State != "Success" {
			t.Errorf("the run is %s, its tasks (-want +got):\n%s", r.State, diff)
		}
	})
	t.Run("retries that are due at once", func(t *testing.T) {
		id := api.CreateRuns(prefecttest.Order{FlowID: flows["retrying"]})[0]
		execute(t, url, id)
		r := api.Runs(id)[0]
		if r.State != "Success" || len(r.TaskRuns) != 1 || r.TaskRuns[0].State != "Success" {
			t.Errorf("the run is %s, its tasks %+v", r.State, r.TaskRuns)
		}
	})
	t.Run("cancelled while it runs", func(t *testing.T) {
		id := api.CreateRuns(prefecttest.Order{FlowID: flows["waiting"]})[0]
		var beside sync.WaitGroup
		beside.Go(func() {
			for api.Runs(id)[0].State != "Running" {
				if t.Context().Err() != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
			api.Cancel(id)
		})
		execute(t, url, id, "PREFECT__CLOUD__CHECK_CANCELLATION_INTERVAL=1")
		beside.Wait()
		if diff := cmp.Diff([]string{"Scheduled", "Running", "Cancelling", "Cancelled"}, history(api.Runs(id)[0])); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// intercepted serves the API, and does something right before the first request
// for an operation.
func intercepted(t *testing.T, api *prefecttest.API, operation string, do func()) string {
	t.Helper()
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if bytes.Contains(body, []byte(operation)) {
			once.Do(do)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		api.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// Where versions are locked (Cloud), the second of two pods of a run finds
// another version than it read. The real client asks what the state is now and
// goes by that.
func TestRealClientMeetsVersionLocks(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{Locking: prefecttest.LockingByCode})
	flows := register(t, api.Start(t), "prefect_keda_flows.register")

	t.Run("of the flow run: the pod ends quietly", func(t *testing.T) {
		id := api.CreateRuns(prefecttest.Order{FlowID: flows["failing"]})[0]
		url := intercepted(t, api, "set_flow_run_states", func() {
			if err := api.SetState(id, map[string]any{"type": "Running", "message": "in another pod"}); err != nil {
				t.Error(err)
			}
		})
		execute(t, url, id)
		if r := api.Runs(id)[0]; r.State != "Running" || r.Message != "in another pod" {
			t.Errorf("the run is %s: %s", r.State, r.Message)
		}
	})
	t.Run("of a task run: the other pod's result counts", func(t *testing.T) {
		id := api.CreateRuns(prefecttest.Order{FlowID: flows["failing"]})[0]
		task := api.Runs(id)[0].TaskRuns[0].ID
		url := intercepted(t, api, "set_task_run_states", func() {
			if err := api.SetTaskState(task, map[string]any{"type": "Success", "message": "in another pod"}); err != nil {
				t.Error(err)
			}
		})
		out := execute(t, url, id)
		r := api.Runs(id)[0]
		if r.State != "Success" || r.TaskRuns[0].Message != "in another pod" || api.Counts()["get_task_run_info"] != 1 {
			t.Errorf("the run is %s: %s, its task %+v; the client says:\n%s", r.State, r.Message, r.TaskRuns[0], out)
		}
	})
}

// With a key, the real client gets a flow's secrets from the API.
func TestRealClientsSecrets(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{Key: "k", Secrets: map[string]any{"TOKEN": "s3cret"}})
	url := api.Start(t)
	cloud := []string{"PREFECT__BACKEND=cloud", "PREFECT__CLOUD__API_KEY=k", "PREFECT__CLOUD__USE_LOCAL_SECRETS=false"}
	flows := register(t, url, "conformance_flows", cloud...)
	id := api.CreateRuns(prefecttest.Order{FlowID: flows["secret"]})[0]
	out := execute(t, url, id, cloud...)
	if r := api.Runs(id)[0]; r.State != "Success" || api.Counts()["secret_value"] != 1 {
		t.Errorf("the run is %s: %s; the client says:\n%s", r.State, r.Message, out)
	}
	prefect(t, url, cloud, "-c", `
from prefect.client import Secret
try:
    raise SystemExit(f"there is one: {Secret('NONE').get()}")
except KeyError:
    pass`)
}
