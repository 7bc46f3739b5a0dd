package prefecttest_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

const alreadySubmitted = "State update failed: this run has already been submitted."

// Each row was measured on the real server (prefect1-server §a).
func TestSubmittedLock(t *testing.T) {
	for _, tc := range []struct {
		name     string
		replicas int
		between  func(s *stand, id string)
		want     string
	}{
		{name: "at once", between: func(*stand, string) {}, want: alreadySubmitted},
		{name: "after 29 s", between: func(s *stand, _ string) { s.now = s.now.Add(29 * time.Second) }, want: alreadySubmitted},
		{name: "after 31 s", between: func(s *stand, _ string) { s.now = s.now.Add(31 * time.Second) }},
		{name: "after a restart", between: func(s *stand, _ string) { s.RestartAPI() }},
		{name: "by another API process", replicas: 2, between: func(*stand, string) {}},
		{name: "after it was Scheduled again", between: func(s *stand, id string) {
			s.mustSet(id, fields{"type": "Scheduled"})
			if got := s.queue(); !slices.Contains(got, id) {
				s.t.Error("the run is Scheduled and not in the queue")
			}
		}, want: alreadySubmitted},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStand(t, prefecttest.Options{Replicas: tc.replicas})
			id := s.one()
			if got := s.submit(id); got != "" {
				t.Fatal(got)
			}
			tc.between(s, id)
			if got := s.submit(id); got != tc.want {
				t.Errorf("the second submission is answered %q, want %q", got, tc.want)
			}
		})
	}
}

func TestOneOfManySubmissionsAtOnceSucceeds(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	id := s.one()
	var won atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if s.submit(id) == "" {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d submissions succeeded, want 1", won.Load())
	}
}

func TestListOfStatesIsNotAtomic(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	ids := s.CreateRuns(prefecttest.Order{Count: 2})
	s.submit(ids[0])
	state := fields{"type": "Submitted"}
	a := s.mutate("set_flow_run_states", fields{"states": []any{fields{"flow_run_id": ids[0], "state": state}, fields{"flow_run_id": ids[1], "state": state}}}, "states { id }")
	want := answer{Status: 200, Data: fields{"set_flow_run_states": nil}, Errors: a.Errors}
	if diff := cmp.Diff(want, a); diff != "" || a.message() != alreadySubmitted || len(a.Errors) != 1 {
		t.Errorf("%q (-want +got):\n%s", a.message(), diff)
	}
	if got := s.run(ids[1]).State; got != "Submitted" {
		t.Errorf("the fresh run beside the refused one is %s; the real server had written it", got)
	}
}

// There is no stale version in OSS, and no state machine (b, c).
func TestAnyStateFollowsAnyOther(t *testing.T) {
	for _, tc := range []struct{ from, to string }{
		{"Running", "Submitted"}, {"Success", "Submitted"}, {"Cancelled", "Submitted"}, {"Success", "Running"}, {"Submitted", "Failed"}, {"Failed", "Running"},
	} {
		for _, version := range []any{nil, 0, 99} {
			t.Run(fmt.Sprintf("%s to %s with version %v", tc.from, tc.to, version), func(t *testing.T) {
				s := newStand(t, prefecttest.Options{})
				id := s.one()
				if err := s.SetState(id, fields{"type": tc.from}); err != nil {
					t.Fatal(err)
				}
				ended := s.row(id, "end_time")["end_time"]
				s.now = s.now.Add(time.Second)
				a := s.mutate("set_flow_run_states", fields{"states": []any{fields{"flow_run_id": id, "version": version, "state": fields{"type": tc.to}}}}, "states { status }")
				r := s.run(id)
				if a.message() != "" || r.State != tc.to || r.Version != 3 {
					t.Errorf("%q, state %s, version %d", a.message(), r.State, r.Version)
				}
				if now := s.row(id, "end_time")["end_time"]; ended != nil && now != ended {
					t.Errorf("end_time %v became %v", ended, now)
				}
			})
		}
	}
}

// A run may fail before it began (prefect1-server §g).
func TestFailedFromSubmittedNeverStarted(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	id := s.one()
	s.submit(id)
	s.mustSet(id, fields{"type": "Failed", "message": "no room"})
	want := fields{"state": "Failed", "state_message": "no room", "start_time": nil, "end_time": "2026-11-23T12:00:00+00:00"}
	if diff := cmp.Diff(want, s.row(id, "state state_message start_time end_time")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStatesThatAreRefused(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	id := s.one()
	for _, tc := range []struct {
		name, id string
		state    any
		want     string
	}{
		{"unknown run", unknown, fields{"type": "Failed"}, "State update failed for flow run ID " + unknown},
		{"no id", "zzz", fields{"type": "Failed"}, "Variable '$input' got invalid value 'zzz' at 'input.states[0].flow_run_id'; Expected type UUID. Could not parse UUID: zzz"},
		{"unknown type", id, fields{"type": "Nope"}, "{'type': ['Unsupported value: Nope']}"},
		{"no type", id, fields{}, "{'type': ['Missing data for required field.']}"},
		{"a string of JSON", id, `{"type": "Failed"}`, `{'_schema': 'Invalid data type: {"type": "Failed"}'}`},
		{"null result", id, fields{"type": "Failed", "_result": nil}, "{'_result': ['Field may not be null.']}"},
		{"no time", id, fields{"type": "Scheduled", "start_time": "soon"}, "{'start_time': ['Not a valid datetime.']}"},
		{"too large", id, fields{"type": "Failed", "message": strings.Repeat("x", 1_000_001)}, "State payload is too large."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := s.set(tc.id, tc.state)
			if a.Status != 200 || a.message() != tc.want || a.code() != "INTERNAL_SERVER_ERROR" {
				t.Errorf("%d %q %s, want 200 %q", a.Status, a.message(), a.code(), tc.want)
			}
			if diff := cmp.Diff(fields{"set_flow_run_states": nil}, a.Data); diff != "" {
				t.Errorf("data (-want +got):\n%s", diff)
			}
		})
	}
	if got := s.run(id).Version; got != 1 {
		t.Errorf("version %d after refusals only", got)
	}
}

// An error does not mean "not applied" (b).
func TestMalformedAgentIDFailsAfterTheWrite(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	id := s.one()
	s.headers["X-PREFECT-AGENT-ID"] = "zzz"
	if got := s.submit(id); got == "" {
		t.Error("no error")
	}
	if got := s.run(id).State; got != "Submitted" {
		t.Errorf("the run is %s", got)
	}
}

// A state is parsed and written anew (h).
func TestStateIsStoredInTheServersForm(t *testing.T) {
	result := fields{"type": "NoResultType", "__version__": "1.4.1"}
	for _, tc := range []struct {
		name     string
		in, want fields
	}{
		{
			"minimal",
			fields{"type": "Submitted"},
			fields{"type": "Submitted", "message": nil, "context": fields{}, "cached_inputs": fields{}, "_result": result, "__version__": "1.4.1"},
		},
		{
			"context and the wrapped state stay, unknown fields go",
			fields{
				"type": "Submitted", "message": "m", "unknown": 1, "__version__": "0.1", "context": fields{"prefect_keda": fields{"job": "j"}},
				"state": fields{"type": "Scheduled", "start_time": "2026-11-23T13:00:00+01:00", "unknown": 1},
			},
			fields{
				"type": "Submitted", "message": "m", "context": fields{"prefect_keda": fields{"job": "j"}}, "cached_inputs": fields{}, "_result": result, "__version__": "1.4.1",
				"state": fields{
					"type": "Scheduled", "start_time": "2026-11-23T12:00:00+00:00", "message": nil, "context": fields{}, "cached_inputs": fields{}, "_result": result, "__version__": "1.4.1",
				},
			},
		},
		{
			"Scheduled without a time is now",
			fields{"type": "Scheduled"},
			fields{
				"type": "Scheduled", "message": nil, "context": fields{}, "cached_inputs": fields{}, "_result": result, "__version__": "1.4.1",
				"start_time": "2026-11-23T12:00:00+00:00",
			},
		},
		{
			"Paused without a time waits for ever",
			fields{"type": "Paused"},
			fields{"type": "Paused", "message": nil, "context": fields{}, "cached_inputs": fields{}, "_result": result, "__version__": "1.4.1"},
		},
		{
			"nine digits are cut to six",
			fields{"type": "Retrying", "run_count": 2.0, "start_time": "2026-11-23T12:00:00.123456789Z"},
			fields{
				"type": "Retrying", "message": nil, "context": fields{}, "cached_inputs": fields{}, "_result": result, "__version__": "1.4.1",
				"start_time": "2026-11-23T12:00:00.123456+00:00", "run_count": 2.0,
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStand(t, prefecttest.Options{})
			id := s.one()
			s.mustSet(id, tc.in)
			if diff := cmp.Diff(tc.want, s.row(id, "serialized_state")["serialized_state"]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTaskRunStates(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	flow := s.CreateFlow(prefecttest.FlowSpec{Tasks: []string{"a-1"}})
	id := s.CreateRuns(prefecttest.Order{FlowID: flow})[0]
	task := s.run(id).TaskRuns[0].ID
	set := func(id string, state any) string {
		t.Helper()
		return s.mutate("set_task_run_states", fields{"states": []any{fields{"task_run_id": id, "version": 1, "state": state}}}, "states { id status }").message()
	}
	if got, want := set(unknown, fields{"type": "Running"}), "State update failed for task run ID "+unknown; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	want := "State update failed for task run ID " + task + ": provided a running state but associated flow run " + id + " is not in a running state."
	if got := set(task, fields{"type": "Running"}); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	s.mustSet(id, fields{"type": "Running"})
	for _, state := range []fields{{"type": "Running", "cached_inputs": fields{"x": 1.0}}, {"type": "Retrying"}} {
		if got := set(task, state); got != "" {
			t.Error(got)
		}
	}
	a := s.call(`query { task_run_by_pk(id: "`+task+`") { version state serialized_state flow_run { id } task { slug } } }`, nil)
	row := a.Data["task_run_by_pk"].(map[string]any)
	if inputs := row["serialized_state"].(map[string]any)["cached_inputs"]; !cmp.Equal(inputs, fields{"x": 1.0}) {
		t.Errorf("cached inputs are not carried forward: %v", inputs)
	}
	delete(row, "serialized_state")
	if diff := cmp.Diff(fields{"version": 3.0, "state": "Retrying", "flow_run": fields{"id": id}, "task": fields{"slug": "a-1"}}, row); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A run is cancelled at once if no pod has begun it, and asked to stop otherwise (j).
func TestCancel(t *testing.T) {
	for _, tc := range []struct{ from, want string }{
		{"Scheduled", "Cancelled"}, {"Submitted", "Cancelled"}, {"Running", "Cancelling"}, {"Success", "Success"}, {"Cancelling", "Cancelling"},
	} {
		t.Run(tc.from, func(t *testing.T) {
			s := newStand(t, prefecttest.Options{})
			id := s.CreateRuns(prefecttest.Order{FlowID: s.CreateFlow(prefecttest.FlowSpec{Tasks: []string{"a-1"}})})[0]
			if err := s.SetState(id, fields{"type": tc.from}); err != nil {
				t.Fatal(err)
			}
			a := s.mutate("cancel_flow_run", fields{"flow_run_id": id}, "id state")
			if diff := cmp.Diff(fields{"cancel_flow_run": fields{"id": id, "state": tc.want}}, a.Data); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if task := s.run(id).TaskRuns[0].State; tc.want == "Cancelled" && task != "Cancelled" {
				t.Errorf("the task run is %s", task)
			}
			if got := s.queue(); len(got) > 0 {
				t.Errorf("%s runs are in the queue", tc.want)
			}
		})
	}
}

// A path selects within a JSON column, as in Hasura.
func TestPathWithinAState(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	id := s.CreateRuns(prefecttest.Order{})[0]
	s.mustSet(id, fields{"type": "Submitted", "context": fields{"prefect_keda": fields{"job": "j"}}})
	a := s.call(`query { flow_run_by_pk(id: "`+id+`") { states(where: { state: { _eq: "Submitted" } }) {
		claim: serialized_state(path: "$.context.prefect_keda") job: serialized_state(path: "context.prefect_keda.job")
		none: serialized_state(path: "$.context.other.job") below: serialized_state(path: "$.type.x") } } }`, nil)
	want := fields{"flow_run_by_pk": fields{"states": []any{fields{"claim": fields{"job": "j"}, "job": "j", "none": nil, "below": nil}}}}
	if diff := cmp.Diff(want, a.Data); diff != "" {
		t.Error(diff)
	}
}
