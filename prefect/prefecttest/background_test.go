package prefecttest_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// Lazarus takes only some runs (prefect1-server §f).
func TestLazarus(t *testing.T) {
	for _, tc := range []struct {
		name     string
		settings map[string]any
		state    string
		task     string
		age      time.Duration
		beat     bool
		want     string
	}{
		{name: "Submitted for long", state: "Submitted", age: 10 * time.Minute, want: "Scheduled"},
		{name: "Running for long", state: "Running", age: 11 * time.Minute, want: "Scheduled"},
		{name: "not for long enough", state: "Submitted", age: 9 * time.Minute, want: "Submitted"},
		{name: "with a heartbeat meanwhile", state: "Submitted", age: 30 * time.Minute, beat: true, want: "Submitted"},
		{name: "with a task that runs", state: "Running", task: "Running", age: time.Hour, want: "Running"},
		{name: "with a task that waits", state: "Running", task: "Retrying", age: time.Hour, want: "Running"},
		{name: "with a task that is done", state: "Running", task: "Success", age: time.Hour, want: "Scheduled"},
		{name: "turned off", state: "Submitted", age: time.Hour, settings: map[string]any{"lazarus_enabled": false}, want: "Submitted"},
		{name: "heartbeats turned off", state: "Submitted", age: time.Hour, settings: map[string]any{"heartbeat_enabled": false}, want: "Submitted"},
		{name: "Scheduled runs have no heartbeat", state: "Scheduled", age: time.Hour, want: "Scheduled"},
		{name: "finished", state: "Success", age: time.Hour, want: "Success"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStand(t, prefecttest.Options{})
			id := s.CreateRuns(prefecttest.Order{FlowID: s.CreateFlow(prefecttest.FlowSpec{Tasks: []string{"a-1"}, Settings: tc.settings})})[0]
			s.mustSet(id, fields{"type": tc.state})
			if tc.task != "" {
				if err := s.SetTaskState(s.run(id).TaskRuns[0].ID, fields{"type": tc.task}); err != nil {
					t.Fatal(err)
				}
			}
			s.now = s.now.Add(tc.age)
			if tc.beat {
				if a := s.mutate("update_flow_run_heartbeat", fields{"flow_run_id": id}, "success"); a.message() != "" {
					t.Fatal(a.message())
				}
			}
			touched := s.Lazarus()
			r := s.run(id)
			if r.State != tc.want || (touched == 1) != (tc.state != tc.want) {
				t.Errorf("touched %d, now %s; want %s", touched, r.State, tc.want)
			}
			if touched == 1 && (r.Message != "Rescheduled by a Lazarus process." || r.Resurrected != 1 || len(r.Logs) != 1 || len(s.queue()) != 1) {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestLazarusGivesUpTheFourthTime(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	id := s.one()
	for range 4 {
		s.mustSet(id, fields{"type": "Submitted"})
		s.now = s.now.Add(11 * time.Minute)
		s.Lazarus()
	}
	want := []string{"Scheduled", "Submitted", "Scheduled", "Submitted", "Scheduled", "Submitted", "Scheduled", "Submitted", "Failed"}
	if diff := cmp.Diff(want, s.history(id)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := s.run(id).Message; got != "A Lazarus process attempted to reschedule this run 3 times without success. Marking as failed." {
		t.Error(got)
	}
}

func TestHeartbeatOfAnUnknownRunSucceeds(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	a := s.mutate("update_flow_run_heartbeat", fields{"flow_run_id": unknown}, "success")
	if diff := cmp.Diff(fields{"update_flow_run_heartbeat": fields{"success": true}}, a.Data); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestZombieKiller(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	flow := s.CreateFlow(prefecttest.FlowSpec{Tasks: []string{"a-1", "b-1"}})
	if a := s.mutate("register_tasks", fields{"flow_id": flow, "serialized_tasks": []any{fields{"slug": "a-1", "name": "a", "max_retries": 1}}}, "success"); a.message() != "" {
		t.Fatal(a.message())
	}
	id := s.CreateRuns(prefecttest.Order{FlowID: flow})[0]
	cancelling := s.CreateRuns(prefecttest.Order{FlowID: flow})[0]
	s.mustSet(id, fields{"type": "Running"})
	s.mustSet(cancelling, fields{"type": "Running"})
	s.Cancel(cancelling)
	for _, task := range s.run(id).TaskRuns {
		if err := s.SetTaskState(task.ID, fields{"type": "Running"}); err != nil {
			t.Fatal(err)
		}
	}
	s.now = s.now.Add(9 * time.Minute)
	if n := s.ZombieKiller(); n != 0 {
		t.Errorf("touched %d after 9 min", n)
	}
	s.now = s.now.Add(time.Minute)
	s.ZombieKiller()
	r := s.run(id)
	if r.State != "Running" || r.TaskRuns[0].State != "Retrying" || r.TaskRuns[1].State != "Failed" {
		t.Errorf("run %s, tasks %+v; want Running with one task Retrying, because it has a retry, and one Failed", r.State, r.TaskRuns)
	}
	if diff := cmp.Diff([]string{id}, s.queue()); diff != "" {
		t.Errorf("the queue (-want +got):\n%s", diff)
	}
	if got := s.run(cancelling); got.State != "Failed" || got.Message != "No heartbeat detected from the flow run; marking the run as failed." {
		t.Errorf("the cancelling run is %s: %s", got.State, got.Message)
	}
	// The second death of the same task is its last: its retry is spent.
	if err := s.SetTaskState(r.TaskRuns[0].ID, fields{"type": "Running"}); err != nil {
		t.Fatal(err)
	}
	s.ZombieKiller()
	if got := s.run(id).TaskRuns[0].State; got != "Failed" {
		t.Errorf("the task with no retry left is %s", got)
	}
}
