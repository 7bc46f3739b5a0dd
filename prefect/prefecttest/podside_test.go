package prefecttest_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// A pod asks this after the server refused its state for its version.
func TestGetTaskRunInfo(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	flow := s.CreateFlow(prefecttest.FlowSpec{Tasks: []string{"one"}})
	id := s.CreateRuns(prefecttest.Order{FlowID: flow})[0]
	task := s.run(id).TaskRuns[0].ID
	if err := s.SetTaskState(task, fields{"type": "Success"}); err != nil {
		t.Fatal(err)
	}
	info := func(id string) any {
		a := s.call(`query { get_task_run_info(task_run_id: "`+id+`") { id version serialized_state } }`, nil)
		if a.message() != "" {
			t.Fatal(a.message())
		}
		return a.Data["get_task_run_info"]
	}
	got, _ := info(task).(map[string]any)
	state, _ := got["serialized_state"].(map[string]any)
	if got["id"] != task || got["version"] != 2.0 || state["type"] != "Success" {
		t.Errorf("get_task_run_info: %v", got)
	}
	if got := info(unknown); got != nil {
		t.Errorf("of no task run: %v", got)
	}
}

func TestSecretValue(t *testing.T) {
	token := map[string]any{"user": "u", "token": "t"}
	s := newStand(t, prefecttest.Options{Secrets: map[string]any{"TOKEN": token}})
	const query = "query($name: String!) { secret_value(name: $name) }"
	a := s.call(query, fields{"name": "TOKEN"})
	if diff := cmp.Diff(token, a.Data["secret_value"]); diff != "" || a.message() != "" {
		t.Errorf("%s (-want +got):\n%s", a.message(), diff)
	}
	if a := s.call(query, fields{"name": "NONE"}); a.message() != "No value found for the requested key" {
		t.Errorf("a secret that is not there: %+v", a)
	}
}
