package servertest

import "net/http"

// cancelling is what happens when somebody cancels: only what no pod has to end is
// cancelled at once.
func cancelling(s *suite) {
	const none = "Scheduled flow run has no infrastructure to terminate."
	at := answer{Status: "REJECT", Reason: none, Type: "CANCELLED", Name: "Cancelled"}
	later := answer{Status: "ACCEPT", Type: "CANCELLING", Name: "Cancelling"}
	pid := func(id string) { s.ok(http.MethodPatch, "/flow_runs/"+id, object{"infrastructure_pid": "ns:job"}) }
	for _, c := range []struct {
		name    string
		prepare func(string)
		want    answer
	}{
		{"scheduled", func(string) {}, at},
		{"scheduled with a pid", pid, later},
		{"rescheduled, so with a pid", func(id string) {
			s.claim(id)
			pid(id)
			s.propose(id, "SCHEDULED", "name", "AwaitingRetry")
		}, later},
		{"resuming", func(id string) {
			pid(id)
			s.propose(id, "SCHEDULED", "name", "Resuming")
		}, at},
		{"claimed", func(id string) { s.claim(id) }, later},
		{"running", func(id string) { s.propose(id, "RUNNING") }, later},
	} {
		id := s.now()
		c.prepare(id)
		if got := s.propose(id, "CANCELLING"); got != c.want {
			s.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
		if c.want.Status == "REJECT" {
			continue
		}
		if got := s.propose(id, "CANCELLED", "message", "no pod"); got.Status != "ACCEPT" || got.Message != "no pod" {
			s.Errorf("%s, confirmed: %+v", c.name, got)
		}
	}
	id := s.now()
	if got := s.propose(id, "CANCELLED", "message", "at once"); got.Status != "ACCEPT" {
		s.Errorf("cancelled without cancelling: %+v", got)
	}
	if s.run(id)["run_count"] != 0.0 {
		s.Error("a run that never began counts as begun")
	}
}
