package servertest

import (
	"net/http"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lists is what the lists select and in which order.
func lists(s *suite) {
	p := s.newPool("lists", nil)
	d := s.deploy(object{"work_pool_name": p})
	now := s.clock()
	late, due, future := s.schedule(d, now.Add(-3*time.Second)), s.schedule(d, now.Add(-time.Second)), s.schedule(d, now.Add(time.Hour))
	claimed, failed := s.schedule(d, now), s.schedule(d, now)
	s.claim(claimed)
	s.propose(failed, "FAILED")
	in := object{"name": object{"any_": []string{p}}}
	states := func(kinds ...string) object { return object{"type": object{"any_": kinds}} }
	before := object{"before_": now}
	for _, c := range []struct {
		name  string
		body  object
		want  []string
		since string
	}{
		{name: "due", body: object{"flow_runs": object{"state": states("SCHEDULED"), "next_scheduled_start_time": before}}, want: []string{late, due}},
		{name: "scheduled", body: object{"flow_runs": object{"state": states("SCHEDULED")}}, want: []string{late, due, future}},
		{name: "second page", body: object{"flow_runs": object{"state": states("SCHEDULED")}, "limit": 1, "offset": 1}, want: []string{due}},
		{name: "claimed", body: object{"flow_runs": object{"state": states("PENDING", "CANCELLING")}}, want: []string{claimed}},
		{name: "by id", body: object{"flow_runs": object{"id": object{"any_": []string{due, failed}}, "state": states("SCHEDULED")}}, want: []string{due}},
		{name: "due or claimed", body: object{"flow_runs": object{
			"operator": "or_", "state": states("PENDING"), "next_scheduled_start_time": before,
		}}, want: []string{claimed, late, due}},
		{name: "of a deployment", body: object{"flow_runs": object{"deployment_id": object{"any_": []string{uuid()}}}}, want: []string{}},
		{name: "with and without", since: "3.9.0", body: object{"flow_runs": object{
			"state": object{"type": object{"any_": []string{"SCHEDULED", "PENDING"}, "not_any_": []string{"SCHEDULED"}}},
		}}, want: []string{claimed}},
	} {
		if c.since != "" && !s.since(c.since) {
			continue
		}
		c.body["work_pools"], c.body["sort"] = in, "NEXT_SCHEDULED_START_TIME_ASC"
		ids := []string{}
		for _, row := range s.ok(http.MethodPost, "/flow_runs/filter", c.body).([]any) {
			ids = append(ids, s.text("id", row))
		}
		if diff := cmp.Diff(c.want, ids); diff != "" {
			s.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if c.body["limit"] == nil {
			delete(c.body, "sort")
			if n := s.ok(http.MethodPost, "/flow_runs/count", c.body); n != float64(len(c.want)) {
				s.Errorf("%s: counted %v", c.name, n)
			}
		}
	}
	s.row(d, p, late)
	for body, want := range map[string]int{"limit": http.StatusUnprocessableEntity, "flow_runs": http.StatusUnprocessableEntity, "unknown": http.StatusOK} {
		value := any(object{"unknown": 1})
		if body == "limit" {
			value = 201
		}
		if status, _ := s.call(http.MethodPost, "/flow_runs/filter", object{body: value}); status != want {
			s.Errorf("a list by %s: status %d", body, status)
		}
	}
	s.deployments(d)
}

// row is what a listed run says about itself.
func (s *suite) row(deployment, pool, id string) {
	rows := s.ok(http.MethodPost, "/flow_runs/filter", object{"flow_runs": object{"id": object{"any_": []string{id}}}}).([]any)
	row := rows[0].(object)
	for name, want := range map[string]any{
		"deployment_id": deployment, "flow_id": s.flow, "work_pool_name": pool, "work_queue_name": "default", "state_type": "SCHEDULED", "run_count": 0.0,
		"infrastructure_pid": nil, "auto_scheduled": false, "start_time": nil,
	} {
		if row[name] != want {
			s.Errorf("%s of a listed run: %v, want %v", name, row[name], want)
		}
	}
	state := row["state"].(object)
	if state["id"] != row["state_id"] || state["name"] != row["state_name"] {
		s.Error("the state of a listed run:", state)
	}
	for _, name := range []string{"parameters", "tags", "empirical_policy", "expected_start_time", "next_scheduled_start_time", "created", "updated"} {
		if row[name] == nil {
			s.Errorf("a listed run has no %s", name)
		}
	}
}

// deployments are listed by id, with their limits.
func (s *suite) deployments(plain string) {
	more := object{"job_variables": object{"image": "i"}}
	if s.since("3.0.0") { // before, it is refused
		more["concurrency_limit"] = 2
	}
	limited := s.deploy(more)
	rows := s.ok(http.MethodPost, "/deployments/filter", object{"deployments": object{"id": object{"any_": []string{limited, plain}}}}).([]any)
	variables := "job_variables"
	if !s.since("3.0.0") {
		variables = "infra_overrides"
	}
	found := []string{}
	for _, row := range rows {
		d := row.(object)
		id := s.text("id", d)
		found = append(found, id)
		limit, _ := d["global_concurrency_limit"].(object)
		if id == limited && s.since("3.0.4") && (limit["limit"] != 2.0 || limit["active_slots"] != 0.0 || limit["active"] != true || d["concurrency_limit"] != nil) {
			s.Error("its limit:", limit, d["concurrency_limit"])
		}
		if id == limited && d[variables].(object)["image"] != "i" {
			s.Error("its job variables:", d[variables])
		}
		if id == plain && limit != nil {
			s.Error("a limit of a deployment without:", limit)
		}
	}
	slices.Sort(found)
	if want := slices.Sorted(slices.Values([]string{limited, plain})); !slices.Equal(found, want) {
		s.Error("deployments:", found, "want", want)
	}
}
