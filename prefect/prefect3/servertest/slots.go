package servertest

import "net/http"

// taken is how many of a deployment's slots are taken.
func (s *suite) taken(deployment string) float64 {
	s.Helper()
	d := s.ok(http.MethodGet, "/deployments/"+deployment, nil).(object)
	return d["global_concurrency_limit"].(object)["active_slots"].(float64)
}

// renew returns the status of a lease's renewal.
func (s *suite) renew(lease string, seconds int) int {
	s.Helper()
	status, _ := s.call(http.MethodPost, "/v2/concurrency_limits/leases/"+lease+"/renew", object{"lease_duration": seconds})
	return status
}

// slotStep is a step in the life of two runs with a limit of one.
type slotStep struct {
	what string
	do   func() answer
	want answer
	// taken is how many slots are taken after it.
	taken float64
}

const full = "Deployment concurrency limit reached."

// slots is what a deployment's limit does (prefect3 §2.4).
func slots(s *suite) {
	if !s.since("3.4.11") {
		return
	}
	d := s.deploy(object{"concurrency_limit": 1})
	a, b := s.schedule(d, s.clock()), s.schedule(d, s.clock())
	claimed := answer{Status: "ACCEPT", Type: "PENDING", Name: "Pending", Scheduled: true}
	accepted := func(kind, name string) answer {
		return answer{Status: "ACCEPT", Type: kind, Name: name, Scheduled: kind == "SCHEDULED" || name == "Submitting"}
	}
	held := answer{Status: "REJECT", Reason: full, Type: "SCHEDULED", Name: "AwaitingConcurrencySlot", Scheduled: true}
	of := func(id, kind string, more ...string) func() answer {
		return func() answer { return s.proposeAs(pod, id, kind, more...) }
	}
	claim := func(id string) func() answer { return func() answer { return s.claim(id) } }
	steps := []slotStep{
		{"a claims", claim(a), claimed, 1},
		{"b claims", claim(b), held, 1},
		{"a's state takes another name", of(a, "PENDING", "name", "Submitting"), accepted("PENDING", "Submitting"), 1},
		{"a is handed back", of(a, "SCHEDULED"), accepted("SCHEDULED", "Scheduled"), 0},
		{"a claims again", claim(a), claimed, 1},
		{"a's pod begins", of(a, "RUNNING"), accepted("RUNNING", "Running"), 1},
		{"a's pod begins twice", of(a, "RUNNING"), accepted("RUNNING", "Running"), 1},
		{"a pauses", of(a, "PAUSED", "name", "Suspended"), accepted("PAUSED", "Suspended"), 0},
		{"b claims before its time", claim(b), claimed, 1},
		{"b is cancelled", of(b, "CANCELLING"), accepted("CANCELLING", "Cancelling"), 1},
		{"b has ended", of(b, "CANCELLED"), accepted("CANCELLED", "Cancelled"), 0},
		{"a fails", of(a, "FAILED"), accepted("FAILED", "Failed"), 0},
		{"a is revived", claim(a), answer{Status: "ACCEPT", Type: "PENDING", Name: "Pending"}, 1},
		{"a is put back", of(a, "FAILED", "force", ""), accepted("FAILED", "Failed"), 0},
	}
	for _, step := range steps {
		got := step.do()
		got.Lease, got.Transition = "", ""
		if got != step.want {
			s.Errorf("%s:\n got %+v\nwant %+v", step.what, got, step.want)
		}
		if taken := s.taken(d); taken != step.taken {
			s.Errorf("%s: %v slots taken, want %v", step.what, taken, step.taken)
		}
	}
	s.keepsItsDueTime(b)
	s.leases()
	s.othersLimits()
}

// keepsItsDueTime is what a run's wait for a slot leaves of its due time.
func (s *suite) keepsItsDueTime(id string) {
	run := s.run(id)
	if run["expected_start_time"] == nil || run["next_scheduled_start_time"] != nil {
		s.Error("after a wait for a slot:", run["expected_start_time"], run["next_scheduled_start_time"])
	}
}

// leases is what their renewals are answered.
func (s *suite) leases() {
	d := s.deploy(object{"concurrency_limit": 1})
	id := s.schedule(d, s.clock())
	lease := s.claim(id).Lease
	for _, c := range []struct{ seconds, want int }{{300, 204}, {59, 422}, {60, 204}, {86400, 204}, {86401, 422}} {
		if got := s.renew(lease, c.seconds); got != c.want {
			s.Errorf("a renewal by %d s: %d, want %d", c.seconds, got, c.want)
		}
	}
	if got := s.propose(id, "PENDING", "name", "Submitting").Lease; got != lease {
		s.Error("the lease under another name:", got, "before", lease)
	}
	if got := s.proposeAs(pod, id, "RUNNING").Lease; got != lease {
		s.Error("the lease of the pod:", got, "before", lease)
	}
	if got := s.propose(id, "CRASHED").Lease; got != lease {
		s.Error("the lease after the end:", got, "before", lease)
	}
	if got := s.renew(lease, 300); got != http.StatusGone {
		s.Error("a renewal after the end:", got)
	}
	id = s.schedule(d, s.clock())
	s.claim(id)
	s.ok(http.MethodDelete, "/flow_runs/"+id, nil)
	if taken := s.taken(d); taken != 0 {
		s.Error("a deleted run keeps its slot")
	}
}

// othersLimits are limits that refuse in other ways.
func (s *suite) othersLimits() {
	d := s.deploy(object{"concurrency_limit": 1, "concurrency_options": object{"collision_strategy": "CANCEL_NEW"}})
	a, b := s.schedule(d, s.clock()), s.schedule(d, s.clock())
	s.claim(a)
	if got, want := s.claim(b), (answer{Status: "REJECT", Reason: full, Type: "CANCELLED", Name: "Cancelled", Message: full}); got != want {
		s.Errorf("CANCEL_NEW:\n got %+v\nwant %+v", got, want)
	}
	change := func(d string, change object) {
		limit := s.ok(http.MethodGet, "/deployments/"+d, nil).(object)["global_concurrency_limit"]
		s.ok(http.MethodPatch, "/v2/concurrency_limits/"+s.text("id", limit), change)
	}
	d = s.deploy(object{"concurrency_limit": 1})
	change(d, object{"active": false})
	if got := s.claim(s.schedule(d, s.clock())); got.Status != "REJECT" || got.Name != "AwaitingConcurrencySlot" {
		s.Errorf("a limit that is not active: %+v", got)
	}
	change(d, object{"active": true, "limit": 0})
	id := s.schedule(d, s.clock())
	want := answer{Status: "ABORT", Type: "SCHEDULED", Name: "Scheduled", Scheduled: true, Reason: "The deployment concurrency limit is 0. The flow will deadlock if submitted again."}
	if got := s.claim(id); got != want {
		s.Errorf("a limit of 0:\n got %+v\nwant %+v", got, want)
	}
	if status, _ := s.call(http.MethodPost, "/deployments/", object{"name": "d-" + hex(), "flow_id": s.flow, "concurrency_limit": 0}); status != http.StatusUnprocessableEntity {
		s.Error("a deployment with a limit of 0:", status)
	}
	d = s.deploy(object{"concurrency_limit": 1})
	id = s.schedule(d, s.clock())
	if got := s.proposeAs(pod, id, "RUNNING"); got.Status != "ACCEPT" || s.taken(d) != 0 {
		s.Errorf("a pod that begins without a claim: %+v, %v slots", got, s.taken(d))
	}
}
