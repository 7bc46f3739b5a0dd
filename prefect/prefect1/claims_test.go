package prefect1_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

var accepted = ok(`{"set_flow_run_states":{"states":[{"id":"` + runID + `","status":"SUCCESS","message":null}]},
	"set_task_run_states":{"states":[{"id":"` + taskID + `","status":"SUCCESS","message":null}]}}`)

func sentState(t *testing.T, api *fakeAPI, op string) any {
	t.Helper()
	sent := api.asked(op)
	if len(sent) != 1 {
		t.Fatalf("%d requests %s, want 1", len(sent), op)
	}
	return at(t, decoded(t, sent[0].Variables), "input", "states", 0, "state")
}

func TestClaimIsLeftInTheState(t *testing.T) {
	api := newFakeAPI(t, answers{"setFlowRunStates": accepted})
	run := prefect.FlowRun{ID: runID, Revision: "3", State: prefect.State{Phase: prefect.Waiting, Name: "Retrying", Opaque: json.RawMessage(`{"type":"Retrying","run_count":2}`)}}
	claim := prefect.Claim{Launcher: "l-1", Namespace: "flows", Job: "prefect-job-0a1b2c3d", Attempt: "v3", NamespaceUID: "6f1e2d3c"}
	result, err := api.client(t).Claim(t.Context(), run, claim)
	if diff := cmp.Diff(prefect.ClaimResult{Answer: prefect.Won}, result); err != nil || diff != "" {
		t.Fatalf("%v %s", err, diff)
	}
	want := decoded(t, []byte(`{
		"type": "Submitted", "message": "Submitted for execution", "cached_inputs": {}, "__version__": "1.4.1",
		"_result": {"type": "NoResultType", "__version__": "1.4.1"},
		"state": {"type": "Retrying", "run_count": 2},
		"context": {"prefect_keda": {"launcher": "l-1", "namespace": "flows", "job": "prefect-job-0a1b2c3d", "attempt": "v3", "namespace_uid": "6f1e2d3c"}}
	}`))
	if diff := cmp.Diff(want, sentState(t, api, "setFlowRunStates")); diff != "" {
		t.Error(diff)
	}
}

// The pod unwraps one level only, so a claim must never wrap another claim
// (prefect1 §2.1).
func TestClaimWrapsTheStateInside(t *testing.T) {
	deep := `{"type":"Scheduled"}`
	for range 40 {
		deep = `{"type":"Submitted","state":` + deep + `}`
	}
	for _, tc := range []struct{ name, opaque, want string }{
		{"a plain state", `{"type":"Scheduled","x":1}`, `{"type":"Scheduled","x":1}`},
		{"a claim handed back", `{"type":"Submitted","state":{"type":"Queued","state":{"type":"Retrying","run_count":3}}}`, `{"type":"Retrying","run_count":3}`},
		{"wrapping nothing", `{"type":"Queued","state":null}`, `null`},
		{"wrapping no state member", `{"type":"Submitted"}`, `null`},
		{"no state", ``, `null`},
		{"no object", `"Scheduled"`, `null`},
		{"not JSON", `{"type":`, `null`},
		{"wrapped without end", deep, `null`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api := newFakeAPI(t, answers{"setFlowRunStates": accepted})
			run := prefect.FlowRun{ID: runID, State: prefect.State{Phase: prefect.Waiting, Name: "Scheduled", Opaque: json.RawMessage(tc.opaque)}}
			if r, err := api.client(t).Claim(t.Context(), run, prefect.Claim{}); err != nil || r.Answer != prefect.Won {
				t.Fatalf("%v, %v", r, err)
			}
			if diff := cmp.Diff(decoded(t, []byte(tc.want)), at(t, sentState(t, api, "setFlowRunStates"), "state")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestQueuedIsNotNow(t *testing.T) {
	api := newFakeAPI(t, answers{"setFlowRunStates": ok(`{"set_flow_run_states":{"states":[{"id":"` + runID + `","status":"QUEUED","message":"limit of 3 reached"}]}}`)})
	run := prefect.FlowRun{ID: runID, State: prefect.State{Phase: prefect.Waiting, Name: "Scheduled"}}
	result, err := api.client(t).Claim(t.Context(), run, prefect.Claim{})
	if err != nil || result.Answer != prefect.NotNow || !strings.Contains(result.Reason, "limit of 3 reached") {
		t.Errorf("%v, %v", result, err)
	}
}

// An answer without our state does not say that it was set.
func TestAnswerWithoutStatesIsUnknown(t *testing.T) {
	for _, data := range []string{`{"set_flow_run_states":null}`, `{"set_flow_run_states":{"states":[]}}`} {
		api := newFakeAPI(t, answers{"setFlowRunStates": ok(data)})
		run := prefect.FlowRun{ID: runID, State: prefect.State{Phase: prefect.Waiting, Name: "Scheduled"}}
		if r, err := api.client(t).Claim(t.Context(), run, prefect.Claim{}); err != nil || r.Answer != prefect.Unknown {
			t.Errorf("%s: %v, %v", data, r, err)
		}
	}
}

func TestStatesThatCannotBeClaimedAreNotSent(t *testing.T) {
	api := newFakeAPI(t, answers{"setFlowRunStates": accepted, "setTaskRunStates": accepted})
	for _, s := range []prefect.Phase{prefect.Claimed, prefect.Running, prefect.Cancelling, prefect.Cancelled, prefect.Finished, prefect.Other} {
		if r, err := api.client(t).Claim(t.Context(), prefect.FlowRun{ID: runID, State: prefect.State{Phase: s}}, prefect.Claim{}); err == nil {
			t.Errorf("%s: %v", s, r)
		}
	}
	if sent := api.asked(""); len(sent) != 0 {
		t.Errorf("sent %d requests", len(sent))
	}
}

// accept answers that every state it was sent is set.
func accept(w http.ResponseWriter, r request) {
	var v struct {
		Input struct{ States []json.RawMessage }
	}
	json.Unmarshal(r.Variables, &v)
	all := strings.Repeat(`{"status":"SUCCESS"},`, len(v.Input.States))
	fmt.Fprintf(w, `{"data":{"set_task_run_states":{"states":[%s]}}}`, strings.TrimSuffix(all, ","))
}

// tasksIn are the tasks of each request, as [first, last].
func tasksIn(t *testing.T, api *fakeAPI) [][]any {
	t.Helper()
	var batches [][]any
	for _, r := range api.asked("setTaskRunStates") {
		states := at(t, decoded(t, r.Variables), "input", "states").([]any)
		batches = append(batches, []any{at(t, states, 0, "task_run_id"), at(t, states, len(states)-1, "task_run_id")})
	}
	return batches
}

// A claim is one request, so that it is as old as the read before it and its answer tells
// of all of it; a batch too large for a request is no claim.
func TestTasksAreClaimedAndHandedBackInBatches(t *testing.T) {
	skipLarge(t)
	id := func(i int) string { return fmt.Sprintf("33333333-3333-4333-8333-%012d", i) }
	for name, tc := range map[string]struct {
		tasks, size int
		want        [][]any
	}{
		"few":                {3, 10, [][]any{{id(0), id(2)}}},
		"many":               {230, 10, [][]any{{id(0), id(99)}, {id(100), id(199)}, {id(200), id(229)}}},
		"large":              {9, 900_000, [][]any{{id(0), id(3)}, {id(4), id(7)}, {id(8), id(8)}}},
		"with what HTML has": {9, -900_000, [][]any{{id(0), id(3)}, {id(4), id(7)}, {id(8), id(8)}}},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Repeat("a", max(0, tc.size)) + strings.Repeat("<", max(0, -tc.size))
			var tasks []recipe.Task
			for i := range tc.tasks {
				tasks = append(tasks, recipe.Task{ID: id(i), Version: i, State: prefect.State{Opaque: json.RawMessage(`{"type":"Retrying","context":"` + text + `"}`)}})
			}
			run := prefect.FlowRun{ID: runID, State: prefect.State{Phase: prefect.Running, Name: "Running"}, Recipe: recipe.Recipe{DueTasks: tasks}}
			api := newFakeAPI(t, answers{"setTaskRunStates": accept})
			if r, err := api.client(t).Claim(t.Context(), run, prefect.Claim{}); err != nil || r.Answer != prefect.Won {
				t.Fatalf("%v, %v", r, err)
			}
			if diff := cmp.Diff(tc.want[:1], tasksIn(t, api)); diff != "" {
				t.Errorf("claimed (-want +got):\n%s", diff)
			}
			api = newFakeAPI(t, answers{"setTaskRunStates": accept})
			if err := api.client(t).HandBack(t.Context(), run, noon, "quota"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, tasksIn(t, api)); diff != "" {
				t.Errorf("handed back (-want +got):\n%s", diff)
			}
			for _, r := range api.asked("") {
				if r.Size > 5_000_000 {
					t.Errorf("a request of %d bytes; the server takes 5 MB", r.Size)
				}
			}
		})
	}
}

// A read brings no more tasks than a claim takes, so a launcher that reads and claims by
// turns leaves none.
func TestTasksAreReadAsTheyAreClaimed(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, HTTPTransport: api.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range 230 {
		names = append(names, fmt.Sprint("mapped-", i))
	}
	id := api.CreateRuns(prefecttest.Order{FlowID: api.CreateFlow(prefecttest.FlowSpec{Tasks: names})})[0]
	set(t, api, id, "Running")
	for _, task := range api.Runs(id)[0].TaskRuns {
		if err := api.SetTaskState(task.ID, map[string]any{"type": "Retrying", "start_time": time.Now().Add(-time.Minute).Format(time.RFC3339)}); err != nil {
			t.Fatal(err)
		}
	}
	var brought []int
	for range 10 {
		run, err := c.FlowRun(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		brought = append(brought, len(tasksOf(run)))
		if len(tasksOf(run)) == 0 {
			break
		}
		if r, err := c.Claim(t.Context(), run, prefect.Claim{}); err != nil || r.Answer != prefect.Won {
			t.Fatal(r, err)
		}
	}
	if diff := cmp.Diff([]int{100, 100, 30, 0}, brought); diff != "" {
		t.Errorf("tasks brought (-want +got):\n%s", diff)
	}
}

func TestHandBack(t *testing.T) {
	later := time.Date(2026, 11, 23, 13, 0, 0, 123456789, time.FixedZone("", 3600))
	const base = `"message":"quota","start_time":"2026-11-23T12:00:00.123456+00:00","__version__":"1.4.1"`
	const none = `"cached_inputs":{},"_result":{"type":"NoResultType","__version__":"1.4.1"}`
	for _, tc := range []struct{ name, from, want string }{
		{
			"a claimed run", `{"type":"Submitted","context":{"prefect_keda":{"job":"j"}},"state":{"type":"Scheduled","message":"Flow run scheduled.","start_time":"2026-11-23T11:00:00+00:00","context":{"k":1},"cached_inputs":{"a":{}},"_result":{"type":"NoResultType"}}}`,
			`{"type":"Scheduled","context":{"k":1},"cached_inputs":{"a":{}},"_result":{"type":"NoResultType"},` + base + `}`,
		},
		{
			"a retry keeps its count", `{"type":"Submitted","state":{"type":"Retrying","run_count":2,"context":{},"cached_inputs":{}}}`,
			`{"type":"Retrying","run_count":2,"context":{},"cached_inputs":{},"_result":{"type":"NoResultType","__version__":"1.4.1"},` + base + `}`,
		},
		{"paused waits for nobody", `{"type":"Paused","context":{}}`, `{"type":"Scheduled","context":{},` + none + `,` + base + `}`},
		{"nothing known of before", ``, `{"type":"Scheduled","context":{},` + none + `,` + base + `}`},
		{"claimed from something else", `{"type":"Submitted","state":{"type":"Pending","context":{"x":1}}}`, `{"type":"Scheduled","context":{},` + none + `,` + base + `}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api := newFakeAPI(t, answers{"setFlowRunStates": accepted})
			run := prefect.FlowRun{ID: runID, Revision: "2", State: prefect.State{Phase: prefect.Claimed, Name: "Submitted", Opaque: json.RawMessage(tc.from)}}
			if err := api.client(t).HandBack(t.Context(), run, later, "quota"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(decoded(t, []byte(tc.want)), sentState(t, api, "setFlowRunStates")); diff != "" {
				t.Error(diff)
			}
			if v := at(t, decoded(t, api.asked("")[0].Variables), "input", "states", 0, "version"); v != nil {
				t.Errorf("version %v, want null", v)
			}
		})
	}
}

func TestHandBackOfRetries(t *testing.T) {
	api := newFakeAPI(t, answers{"setTaskRunStates": accepted})
	c := api.client(t)
	run := prefect.FlowRun{ID: runID, State: prefect.State{Phase: prefect.Running, Name: "Running"}, Recipe: recipe.Recipe{DueTasks: []recipe.Task{
		{ID: taskID, Version: 4, State: prefect.State{Phase: prefect.Waiting, Name: "Retrying", Opaque: json.RawMessage(`{"type":"Retrying","run_count":2}`)}},
	}}}
	if err := c.HandBack(t.Context(), run, noon, "quota"); err != nil {
		t.Fatal(err)
	}
	state := sentState(t, api, "setTaskRunStates")
	if at(t, state, "type") != "Retrying" || at(t, state, "run_count") != 2.0 || at(t, state, "start_time") != "2026-11-23T12:00:00.000000+00:00" {
		t.Errorf("task state %v", state)
	}
	run.Recipe = recipe.Recipe{}
	if err := c.HandBack(t.Context(), run, noon, "quota"); err == nil {
		t.Error("handed back a run whose claimed tasks are not known")
	}
}

// The server sets any state on any run, so a finished one would come back to
// life (prefect1-server §c).
func TestHandBackRevivesNothing(t *testing.T) {
	api := newFakeAPI(t, answers{"setFlowRunStates": accepted})
	for _, s := range []prefect.Phase{prefect.Finished, prefect.Cancelled} {
		if err := api.client(t).HandBack(t.Context(), prefect.FlowRun{ID: runID, State: prefect.State{Phase: s}}, noon, "x"); err == nil {
			t.Errorf("%s was handed back", s)
		}
	}
	if sent := api.asked(""); len(sent) != 0 {
		t.Errorf("sent %d requests", len(sent))
	}
}

func TestFailMessagesAreStorable(t *testing.T) {
	api := newFakeAPI(t, answers{"setFlowRunStates": accepted})
	if err := api.client(t).Fail(t.Context(), prefect.FlowRun{ID: runID}, prefect.Failure{Message: "a\x00b" + strings.Repeat("ü", 200_000)}); err != nil {
		t.Fatal(err)
	}
	message := at(t, sentState(t, api, "setFlowRunStates"), "message").(string)
	if !strings.HasPrefix(message, "abü") || !strings.HasSuffix(message, "ü…") || len(message) > 100_010 {
		t.Errorf("%d bytes, %.10q", len(message), message)
	}
}

func TestCancel(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, HTTPTransport: api.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	id := api.CreateRuns(prefecttest.Order{FlowID: api.CreateFlow(prefecttest.FlowSpec{})})[0]
	set(t, api, id, "Cancelling")
	if err := c.Cancelled(t.Context(), prefect.FlowRun{ID: id}, "it did not\x00 end"); err != nil {
		t.Fatal(err)
	}
	if got := api.Runs(id)[0]; got.State != "Cancelled" || got.Message != "it did not end" {
		t.Errorf("the run is %s: %q", got.State, got.Message)
	}
}

func TestFailOfAnUnknownRun(t *testing.T) {
	api := newFakeAPI(t, answers{"setFlowRunStates": refusal("State update failed for flow run ID "+runID, internal)})
	if err := api.client(t).Fail(t.Context(), prefect.FlowRun{ID: runID}, prefect.Failure{Message: "x"}); !errors.Is(err, prefect.ErrNotFound) {
		t.Error(err)
	}
}
