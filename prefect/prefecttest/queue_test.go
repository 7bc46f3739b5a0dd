package prefecttest_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

func ago(d time.Duration) prefecttest.Duration { return prefecttest.Duration(-d) }

func TestQueueReturnsTheOldest25InOrder(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	var ids []string
	for i := range 40 {
		ids = append(s.CreateRuns(prefecttest.Order{In: ago(time.Duration(i) * time.Minute)}), ids...)
	}
	if diff := cmp.Diff(ids[:25], s.queue()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(ids[:25], s.queue()); diff != "" {
		t.Errorf("reading took something off the queue (-want +got):\n%s", diff)
	}
}

// 74 older runs of others leave ours visible, 75 hide it.
func TestQueueStarves(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	s.CreateRuns(prefecttest.Order{Count: 74, Labels: []string{"other"}, In: ago(time.Minute)})
	ours := s.CreateRuns(prefecttest.Order{Labels: []string{"ours"}})
	if diff := cmp.Diff(ours, s.queue("ours")); diff != "" {
		t.Errorf("behind 74 (-want +got):\n%s", diff)
	}
	s.CreateRuns(prefecttest.Order{Labels: []string{"other"}, In: ago(time.Minute)})
	if got := s.queue("ours"); len(got) > 0 {
		t.Errorf("behind 75 ours is still seen: %v", got)
	}
}

func TestQueueLabels(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	plain := s.CreateRuns(prefecttest.Order{Labels: []string{}})
	a := s.CreateRuns(prefecttest.Order{Labels: []string{"a"}})
	ab := s.CreateRuns(prefecttest.Order{Labels: []string{"b", "a"}})
	for _, tc := range []struct{ agent, want []string }{
		{[]string{}, plain}, {[]string{"a"}, a}, {[]string{"b", "a", "c"}, append(a, ab...)}, {[]string{"A"}, []string{}}, {[]string{"b"}, []string{}},
	} {
		if diff := cmp.Diff(tc.want, s.queue(tc.agent...)); diff != "" {
			t.Errorf("agent %v (-want +got):\n%s", tc.agent, diff)
		}
	}
	if diff := cmp.Diff(plain, s.queueOf(fields{"tenant_id": s.Tenant()})); diff != "" {
		t.Errorf("labels left out (-want +got):\n%s", diff)
	}
	for _, tc := range []struct {
		name   string
		input  fields
		status int
		want   string
	}{
		{"labels null", fields{"tenant_id": s.Tenant(), "labels": nil}, 200, "'NoneType' object has no attribute 'sort'"},
		{"no tenant", fields{"labels": []string{}}, 400, "tenant_id"},
	} {
		if got := s.mutate("get_runs_in_queue", tc.input, "flow_run_ids"); got.Status != tc.status || !strings.Contains(got.message(), tc.want) {
			t.Errorf("%s: %d %q, want %d %q", tc.name, got.Status, got.message(), tc.status, tc.want)
		}
	}
	if got := s.queueOf(fields{"tenant_id": unknown}); len(got) > 0 {
		t.Errorf("an unknown tenant has %v", got)
	}
	if got := s.queueOf(fields{"tenant_id": s.CreateTenant("other")}); len(got) > 0 {
		t.Errorf("another tenant has %v", got)
	}
}

// A state and its start time decide whether a run is in the queue (d).
func TestQueueStates(t *testing.T) {
	due := "2026-11-23T12:00:10Z"
	for _, tc := range []struct {
		name  string
		state fields
		want  bool
	}{
		{"Scheduled", fields{"type": "Scheduled", "start_time": due}, true},
		{"Scheduled later", fields{"type": "Scheduled", "start_time": "2026-11-23T12:00:11Z"}, false},
		{"Resume", fields{"type": "Resume", "start_time": due}, true},
		{"Retrying", fields{"type": "Retrying", "start_time": due}, true},
		{"Queued", fields{"type": "Queued", "start_time": due}, true},
		{"Paused with a time", fields{"type": "Paused", "start_time": due}, true},
		{"Paused", fields{"type": "Paused"}, false},
		{"Pending", fields{"type": "Pending"}, false},
		{"Submitted", fields{"type": "Submitted"}, false},
		{"Running", fields{"type": "Running"}, false},
		{"Cancelling", fields{"type": "Cancelling"}, false},
		{"Cancelled", fields{"type": "Cancelled"}, false},
		{"Success", fields{"type": "Success"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStand(t, prefecttest.Options{})
			if err := s.SetState(s.one(), tc.state); err != nil {
				t.Fatal(err)
			}
			if got := len(s.queue()) == 1; got != tc.want {
				t.Errorf("in the queue: %t, want %t", got, tc.want)
			}
		})
	}
}

func TestQueueHasRunningRunsWithDueRetriesLast(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	retrying := s.CreateRuns(prefecttest.Order{FlowID: s.CreateFlow(prefecttest.FlowSpec{Tasks: []string{"a-1"}})})[0]
	scheduled := s.one()
	if err := s.SetState(retrying, fields{"type": "Running"}); err != nil {
		t.Fatal(err)
	}
	if err := s.SetTaskState(s.run(retrying).TaskRuns[0].ID, fields{"type": "Retrying", "start_time": "2026-11-23T12:00:20Z"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{scheduled}, s.queue()); diff != "" {
		t.Errorf("before the retry is due (-want +got):\n%s", diff)
	}
	s.now = s.now.Add(10 * time.Second)
	if diff := cmp.Diff([]string{scheduled, retrying}, s.queue()); diff != "" {
		t.Errorf("when it is (-want +got):\n%s", diff)
	}
}

// An agent is identified by its registration, and alive by asking (d).
func TestAgents(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	register := func(input fields) string {
		t.Helper()
		a := s.mutate("register_agent", input, "id")
		if a.message() != "" {
			return a.message()
		}
		return a.Data["register_agent"].(map[string]any)["id"].(string)
	}
	with := func(more fields) fields {
		in := fields{"type": "KubernetesAgent", "name": "n", "labels": []string{"a", "b"}, "tenant_id": s.Tenant(), "agent_config_id": nil}
		maps.Copy(in, more)
		return in
	}
	id := register(with(nil))
	for name, tc := range map[string]struct {
		input fields
		same  bool
	}{
		"again": {with(nil), true}, "labels in another order": {with(fields{"labels": []string{"b", "a"}}), true}, "no name": {with(fields{"name": nil}), true},
		"other labels": {with(fields{"labels": []string{"a"}}), false}, "other name": {with(fields{"name": "m"}), false}, "other type": {with(fields{"type": "LocalAgent"}), false},
	} {
		if got := register(tc.input); (got == id) != tc.same {
			t.Errorf("%s: same agent %t, want %t", name, got == id, tc.same)
		}
	}
	s.headers["X-PREFECT-CORE-VERSION"] = "9.9"
	if register(with(nil)) == id {
		t.Error("another core version is the same agent")
	}
	delete(s.headers, "X-PREFECT-CORE-VERSION")
	for _, input := range []fields{{"type": "t"}, {"type": "t", "tenant_id": unknown}} {
		if got := register(input); got != "No tenant found." {
			t.Errorf("%v: %q", input, got)
		}
	}

	queried := func() time.Time { return s.Agents()[0].LastQueried }
	s.queue()
	s.headers["X-PREFECT-AGENT-ID"] = unknown
	s.queue()
	if got := queried(); !got.IsZero() {
		t.Errorf("last_queried moved to %s without the agent's id", got)
	}
	s.headers["X-PREFECT-AGENT-ID"] = "zzz"
	if a := s.mutate("get_runs_in_queue", fields{"tenant_id": s.Tenant()}, "flow_run_ids"); a.message() == "" {
		t.Error("a malformed agent id is taken")
	}
	s.headers["X-PREFECT-AGENT-ID"] = id
	s.queue()
	if got := queried(); !got.Equal(s.now) {
		t.Errorf("last_queried is %s, want %s", got, s.now)
	}

	run, stray := s.one(), s.one()
	s.submit(run)
	s.headers["X-PREFECT-AGENT-ID"] = unknown
	s.submit(stray)
	if got := s.run(run).AgentID; got != id {
		t.Errorf("submitted by %q, want %q", got, id)
	}
	if r := s.run(stray); r.State != "Submitted" || r.AgentID != "" {
		t.Errorf("submitted by an unknown agent: %s by %q", r.State, r.AgentID)
	}
}
