package prefect_test

import (
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

func TestLabelsMatch(t *testing.T) {
	for _, tc := range []struct {
		name          string
		launcher, run []string
		want          bool
	}{
		{"no labels on either side", nil, nil, true},
		{"an unlabelled run is not for a labelled launcher", []string{"a"}, nil, false},
		{"a labelled run is not for an unlabelled launcher", nil, []string{"a"}, false},
		{"subset", []string{"b", "a"}, []string{"a"}, true},
		{"equal in another order", []string{"b", "a"}, []string{"a", "b"}, true},
		{"one label too many", []string{"a"}, []string{"a", "b"}, false},
		{"case matters", []string{"a"}, []string{"A"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := prefect.LabelsMatch(tc.launcher, tc.run); got != tc.want {
				t.Errorf("LabelsMatch(%q, %q) = %v, want %v", tc.launcher, tc.run, got, tc.want)
			}
		})
	}
}

func TestClaimIsIn(t *testing.T) {
	for _, tc := range []struct {
		name  string
		claim prefect.Claim
		want  bool
	}{
		{"this namespace", prefect.Claim{Namespace: "flows", NamespaceUID: "here"}, true},
		{"one of the same name in another cluster", prefect.Claim{Namespace: "flows", NamespaceUID: "there"}, false},
		{"another namespace", prefect.Claim{Namespace: "elsewhere", NamespaceUID: "here"}, false},
		{"an older release's", prefect.Claim{Namespace: "flows"}, true},
		{"an older release's, in another namespace", prefect.Claim{Namespace: "elsewhere"}, false},
		{"one that says nothing", prefect.Claim{}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.claim.IsIn("flows", "here"); got != tc.want {
				t.Errorf("IsIn = %v, want %v", got, tc.want)
			}
		})
	}
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func state(t prefect.StateType, start time.Time) prefect.State {
	return prefect.State{Type: t, StartTime: start}
}

func TestClaimable(t *testing.T) {
	retry := prefect.TaskRun{ID: "t1", State: state(prefect.Retrying, noon)}
	for _, tc := range []struct {
		name string
		run  prefect.FlowRun
		want bool
	}{
		{"scheduled and due", prefect.FlowRun{State: state(prefect.Scheduled, noon)}, true},
		{"scheduled ahead", prefect.FlowRun{State: state(prefect.Scheduled, noon.Add(time.Second))}, false},
		{"scheduled without a time", prefect.FlowRun{State: state(prefect.Scheduled, time.Time{})}, true},
		{"paused for ever", prefect.FlowRun{State: state(prefect.Paused, time.Time{})}, false},
		{"paused until now", prefect.FlowRun{State: state(prefect.Paused, noon)}, true},
		{"running, nothing to retry", prefect.FlowRun{State: state(prefect.Running, time.Time{})}, false},
		{"running with a due retry", prefect.FlowRun{State: state(prefect.Running, time.Time{}), DueTasks: []prefect.TaskRun{retry}}, true},
		{"cancelling with a due retry", prefect.FlowRun{State: state(prefect.Cancelling, time.Time{}), DueTasks: []prefect.TaskRun{retry}}, false},
		{"submitted", prefect.FlowRun{State: state(prefect.Submitted, time.Time{})}, false},
		{"finished", prefect.FlowRun{State: state(prefect.Success, time.Time{})}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.run.Claimable(noon); got != tc.want {
				t.Errorf("Claimable = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestAttempt(t *testing.T) {
	task := func(id string, version int, due time.Time) prefect.TaskRun {
		return prefect.TaskRun{ID: id, Version: version, State: state(prefect.Retrying, due)}
	}
	first := task("t2", 4, noon)
	later := task("t1", 9, noon.Add(time.Second))
	for _, tc := range []struct {
		name string
		run  prefect.FlowRun
		want prefect.Attempt
	}{
		{"scheduled", prefect.FlowRun{Version: 3, State: state(prefect.Scheduled, noon)}, "v3"},
		{"retry", prefect.FlowRun{Version: 3, State: state(prefect.Running, time.Time{}), DueTasks: []prefect.TaskRun{first}}, "retry-t2-v4"},
		{
			"a second due task does not change the attempt",
			prefect.FlowRun{Version: 3, State: state(prefect.Running, time.Time{}), DueTasks: []prefect.TaskRun{later, first}},
			"retry-t2-v4",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.run.Attempt(); got != tc.want {
				t.Errorf("Attempt = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestStateFamilies(t *testing.T) {
	for _, s := range prefect.ScheduledFamily() {
		if !s.IsScheduled() || s.IsFinished() || s.IsRunning() {
			t.Errorf("%s: scheduled=%v running=%v finished=%v", s, s.IsScheduled(), s.IsRunning(), s.IsFinished())
		}
	}
	for _, s := range []prefect.StateType{"Finished", "Success", "Cached", "Mapped", "Skipped", "Looped", "Failed", "TimedOut", "TriggerFailed", "ValidationFailed", "Cancelled"} {
		if !s.IsFinished() || s.IsScheduled() || s.IsRunning() {
			t.Errorf("%s must be finished and nothing else", s)
		}
	}
	for _, s := range []prefect.StateType{"Submitted", "Pending", "SomethingNew"} {
		if s.IsFinished() || s.IsScheduled() || s.IsRunning() {
			t.Errorf("%s must be in no family", s)
		}
	}
}
