package servertest

import (
	"net/http"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
)

// offered are the runs that a worker of a pool would see at a time; at no time, all.
func (s *suite) offered(pool string, before time.Time, queues ...string) []string {
	s.Helper()
	body := object{"work_queue_names": orEmpty(queues)}
	if !before.IsZero() {
		body["scheduled_before"] = before
	}
	ids := []string{}
	for _, row := range s.ok(http.MethodPost, "/work_pools/"+pool+"/get_scheduled_flow_runs", body).([]any) {
		run := row.(object)["flow_run"].(object)
		if (run["state"] != nil) != s.since("3.9.0") {
			s.Error("the offer's state:", run["state"])
		}
		ids = append(ids, s.text("id", run))
	}
	return ids
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// offers is what pauses and limits hold back, which is never a claim (prefect3 §1.5).
func offers(s *suite) {
	p := s.newPool("offers", 3)
	queue := func(name string, priority int, limit any) {
		s.ok(http.MethodPost, "/work_pools/"+p+"/queues", object{"name": name, "priority": priority, "concurrency_limit": limit})
	}
	queue("hi", 1, nil)
	queue("lo", 5, 1)
	deployments := map[string]string{}
	for _, name := range []string{"hi", "default", "lo"} {
		deployments[name] = s.deploy(object{"work_pool_name": p, "work_queue_name": name})
	}
	now := s.clock()
	due := func(queue string, late time.Duration) string { return s.schedule(deployments[queue], now.Add(-late)) }
	lo, lower := due("lo", 10*time.Second), due("lo", 9*time.Second)
	plain := due("default", 8*time.Second)
	hi, higher := due("hi", 2*time.Second), due("hi", time.Second)
	future := due("hi", -time.Hour)
	expect := func(what string, got, want []string) {
		s.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			s.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	pool := func(change object) { s.ok(http.MethodPatch, "/work_pools/"+p, change) }
	expect("by priority, then time, up to the pool's limit", s.offered(p, now), []string{hi, higher, plain})
	pool(object{"concurrency_limit": nil})
	expect("one of the limited queue", s.offered(p, now), []string{hi, higher, plain, lo})
	expect("of one queue", s.offered(p, now, "lo"), []string{lo})
	if !slices.Contains(s.offered(p, time.Time{}), future) {
		s.Error("without a bound the future is not offered")
	}
	s.ok(http.MethodPatch, "/work_pools/"+p+"/queues/hi", object{"is_paused": true})
	expect("not of a paused queue", s.offered(p, now), []string{plain, lo})
	pool(object{"is_paused": true})
	expect("not of a paused pool", s.offered(p, now), []string{})
	for _, id := range []string{hi, lo, lower} {
		if got := s.claim(id); got.Status != "ACCEPT" {
			s.Errorf("a claim that was not offered: %+v", got)
		}
	}
	pool(object{"is_paused": false, "concurrency_limit": 3})
	expect("with the pool's slots taken", s.offered(p, now), []string{})
	s.occupied(p)
	s.ok(http.MethodPost, "/flow_runs/"+lo+"/set_state", object{"state": object{"type": "CRASHED"}})
	expect("with one slot free", s.offered(p, now), []string{plain})
	s.pausedDeployment()
	s.hiddenRetry()
	if status, _ := s.call(http.MethodPost, "/work_pools/"+p+"/get_scheduled_flow_runs", object{"work_queue_names": []string{"nope"}}); status != http.StatusNotFound {
		s.Error("an unknown queue:", status)
	}
	if status, _ := s.call(http.MethodPost, "/work_pools/"+p+"/get_scheduled_flow_runs", object{"limit": 201}); status != http.StatusUnprocessableEntity {
		s.Error("more than a page:", status)
	}
}

// occupied compares the counts of taken slots, which only limited pools and queues have.
func (s *suite) occupied(p string) {
	if !s.since("3.8.0") {
		return
	}
	rows := s.ok(http.MethodPost, "/work_pools/filter", object{"work_pools": object{"name": object{"any_": []string{p}}}}).([]any)
	if got := rows[0].(object)["active_slots"]; got != 3.0 {
		s.Error("the pool's slots taken:", got)
	}
	slots := map[string]any{}
	for _, row := range s.ok(http.MethodPost, "/work_queues/filter", object{"limit": 200}).([]any) {
		if q := row.(object); q["work_pool_name"] == p {
			slots[s.text("name", q)] = q["active_slots"]
		}
	}
	if diff := cmp.Diff(map[string]any{"hi": nil, "default": nil, "lo": 2.0}, slots); diff != "" {
		s.Error("the queues' slots taken:", diff)
	}
}

// pausedDeployment offers what is there: a pause only deletes what its schedules made.
func (s *suite) pausedDeployment() {
	p := s.newPool("paused", nil)
	d := s.deploy(object{"work_pool_name": p})
	id := s.schedule(d, s.clock().Add(-time.Second))
	s.ok(http.MethodPost, "/deployments/"+d+"/pause_deployment", object{})
	if got := s.offered(p, s.clock()); !slices.Equal(got, []string{id}) {
		s.Error("of a paused deployment:", got)
	}
}

// hiddenRetry leaves out a run that its own pod has, in 2.20.26 and since 3.1.3.
func (s *suite) hiddenRetry() {
	p := s.newPool("retries", nil)
	d := s.deploy(object{"work_pool_name": p})
	id := s.text("id", s.ok(http.MethodPost, "/deployments/"+d+"/create_flow_run", object{
		"state": object{"type": "SCHEDULED"}, "empirical_policy": object{"retries": 1, "retry_delay": 0},
	}))
	s.propose(id, "RUNNING")
	s.propose(id, "FAILED")
	if got := s.offered(p, s.clock().Add(time.Minute)); slices.Contains(got, id) {
		s.Error("a run that its own pod tries again, offered:", got)
	}
}
