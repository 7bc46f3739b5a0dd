package servertest

import (
	"net/http"
	"time"
)

// expiring is a claim of a deployment with one slot, whose lease will expire, and a rival.
type expiring struct{ deployment, id, rival, lease string }

func (s *suite) expiring() expiring {
	d := s.deploy(object{"concurrency_limit": 1})
	e := expiring{deployment: d, id: s.schedule(d, s.clock()), rival: s.schedule(d, s.clock())}
	e.lease = s.claim(e.id).Lease
	return e
}

// sweep is how often the server looks for expired leases.
const sweep = 15 * time.Second

// eventually waits until something is so. A service of a busy server may skip a turn.
func (s *suite) eventually(what string, is func() bool) {
	s.Helper()
	for range 24 {
		if is() {
			return
		}
		s.Wait(5 * time.Second)
	}
	s.Error("never: ", what)
}

// later is what the server's services do after a while.
func later(s *suite) {
	overdue := s.schedule(s.deployment, s.clock())
	scheduled := s.planned()
	if !s.since("3.4.11") {
		s.Wait(20 * time.Second)
		s.late(overdue)
		s.ahead(scheduled)
		return
	}
	// These two must not expire, even when the rest takes a while.
	kept := s.expiring()
	if got := s.renew(kept.lease, 600); got != http.StatusNoContent {
		s.Error("a renewal:", got)
	}
	begun := s.expiring()
	if got := s.propose(begun.id, "RUNNING"); got.Status != "ACCEPT" {
		s.Errorf("a pod that is no Prefect client of ours begins: %+v", got)
	}
	free, lost, back, crashed := s.expiring(), s.expiring(), s.expiring(), s.expiring()
	s.Wait(s.Lease + sweep)
	for _, of := range []expiring{free, lost, back, crashed} {
		s.eventually("a slot is free after the lease expired", func() bool { return s.taken(of.deployment) == 0 })
	}
	s.late(overdue)
	s.ahead(scheduled)
	if got := s.renew(free.lease, 300); got != http.StatusGone {
		s.Error("a renewal after the lease expired:", got)
	}
	if got := s.taken(kept.deployment); got != 1 {
		s.Error("slots taken by a run whose lease was renewed:", got)
	}
	if got := s.taken(begun.deployment); got != 1 {
		s.Error("slots taken by a run whose pod is no Prefect client of ours:", got)
	}
	if got := s.proposeAs(pod, free.id, "RUNNING"); got.Status != "ACCEPT" || got.Lease == free.lease || s.taken(free.deployment) != 1 {
		s.Errorf("a pod whose slot is free begins: %+v", got)
	}
	if got := s.proposeAs(pod, kept.id, "RUNNING"); got.Status != "ACCEPT" || got.Lease != kept.lease {
		s.Errorf("a pod whose lease was renewed begins: %+v", got)
	}
	for _, of := range []expiring{lost, back, crashed} {
		if got := s.claim(of.rival); got.Status != "ACCEPT" {
			s.Errorf("the rival: %+v", got)
		}
	}
	// By a bug of the server's each of these gives the rival's slot back.
	want := answer{
		Status: "REJECT", Reason: "Deployment concurrency limit reached after lease expiry.", Type: "CANCELLED", Name: "Cancelled",
		Message: "Deployment concurrency slot lost during provisioning - no slots available to continue execution",
	}
	if got := s.proposeAs(pod, lost.id, "RUNNING"); got != want || s.taken(lost.deployment) != 0 {
		s.Errorf("a pod whose slot is taken begins, %v slots taken:\n got %+v\nwant %+v", s.taken(lost.deployment), got, want)
	}
	if got := s.propose(back.id, "SCHEDULED"); got.Status != "ACCEPT" || s.taken(back.deployment) != 0 {
		s.Errorf("handed back without a slot, %v slots taken: %+v", s.taken(back.deployment), got)
	}
	if got := s.propose(crashed.id, "CRASHED"); got.Status != "ACCEPT" || s.taken(crashed.deployment) != 0 {
		s.Errorf("crashed without a slot, %v slots taken: %+v", s.taken(crashed.deployment), got)
	}
}

// late is a run that is overdue for more than 15 s.
func (s *suite) late(id string) {
	s.eventually("an overdue run is Late", func() bool { return s.state(id)["name"] == "Late" })
	run := s.run(id)
	if run["state_name"] != "Late" || run["state_type"] != "SCHEDULED" || run["next_scheduled_start_time"] != run["expected_start_time"] {
		s.Error("overdue:", run["state_type"], run["state_name"], run["next_scheduled_start_time"], run["expected_start_time"])
	}
}

// planned makes a deployment with a schedule of ten minutes.
func (s *suite) planned() string {
	p := s.newPool("planned", nil)
	return s.deploy(object{"work_pool_name": p, "schedules": []any{object{"active": true, "schedule": object{"interval": 600}}}})
}

// ahead is the runs of a schedule for an hour: they are there early, and each at its time.
func (s *suite) ahead(deployment string) {
	body := object{"flow_runs": object{"deployment_id": object{"any_": []string{deployment}}}, "sort": "NEXT_SCHEDULED_START_TIME_ASC"}
	var rows []any
	s.eventually("the runs of a schedule are there", func() bool {
		rows = s.ok(http.MethodPost, "/flow_runs/filter", body).([]any)
		return len(rows) > 0
	})
	if len(rows) < 6 || len(rows) > 8 {
		s.Error(len(rows), "runs of a schedule for an hour")
	}
	for _, row := range rows {
		run := row.(object)
		if run["auto_scheduled"] != true || run["state_type"] != "SCHEDULED" {
			s.Error("a run of a schedule:", run["auto_scheduled"], run["state_type"])
		}
	}
	s.ok(http.MethodDelete, "/deployments/"+deployment, nil)
	if n := s.ok(http.MethodPost, "/flow_runs/count", object{"flow_runs": body["flow_runs"]}); n != 0.0 {
		s.Error("after its deployment was deleted:", n)
	}
}

// restart is what a server forgets (prefect3 §2.4).
func restart(s *suite) {
	if s.Restart == nil || !s.since("3.4.11") {
		return
	}
	lost, back := s.expiring(), s.expiring()
	s.renew(lost.lease, 600)
	s.renew(back.lease, 600)
	s.Restart()
	if taken := s.taken(lost.deployment); taken != 1 {
		s.Error("slots taken after a restart:", taken)
	}
	if got := s.renew(lost.lease, 300); got != http.StatusGone {
		s.Error("a renewal after a restart:", got)
	}
	if got := s.proposeAs(pod, lost.id, "RUNNING"); got.Status != "REJECT" || got.Type != "CANCELLED" {
		s.Errorf("a pod begins after a restart: %+v", got)
	}
	if got := s.propose(back.id, "SCHEDULED"); got.Status != "ACCEPT" || s.taken(back.deployment) != 0 {
		s.Errorf("handed back after a restart, %v slots taken: %+v", s.taken(back.deployment), got)
	}
	if got := s.claim(back.rival); got.Status != "ACCEPT" {
		s.Errorf("the rival then: %+v", got)
	}
}
