package servertest

import (
	"slices"
	"strings"
)

// table is what a server says to each state after each other, on a run of a deployment
// without a limit, without infrastructure_pid and without a kept result. The words are the
// answer, with "ends" for a REJECT that sets CANCELLED.
const table = `
from        SCHEDULED  PENDING  RUNNING  COMPLETED  FAILED  CANCELLED  CRASHED  PAUSED  CANCELLING
SCHEDULED   accept     accept   accept   accept     accept  accept     accept   reject  ends
PENDING     accept     abort    accept   accept     accept  accept     accept   reject  accept
RUNNING     accept     abort    accept   accept     accept  accept     accept   accept  accept
COMPLETED   accept     accept   accept   accept     accept  accept     abort    abort   abort
FAILED      accept     accept   accept   accept     accept  accept     abort    abort   abort
CANCELLED   accept     abort    accept   accept     accept  accept     abort    abort   abort
CRASHED     accept     accept   accept   accept     accept  accept     abort    abort   abort
PAUSED      accept     reject   accept   accept     accept  accept     accept   reject  ends
CANCELLING  reject     reject   reject   reject     reject  accept     reject   reject  reject
`

// prefect2 replaces rows for Prefect 2, where a cancelled run stays so.
const prefect2 = `
CANCELLED   reject     reject   reject   reject     reject  accept     abort    abort   abort
`

func transitions(s *suite) {
	rows := map[string][]string{}
	text := table
	if !s.since("3.0.0") {
		text += prefect2
	}
	for line := range strings.Lines(text) {
		if cells := strings.Fields(line); len(cells) > 0 {
			rows[cells[0]] = cells[1:]
		}
	}
	kinds := rows["from"]
	for _, from := range kinds {
		for i, to := range kinds {
			s.transition(from, to, rows[from][i])
		}
	}
}

func (s *suite) transition(from, to, want string) {
	id := s.now()
	if from == "CANCELLING" { // a scheduled run is cancelled at once
		s.claim(id)
	}
	if from != "SCHEDULED" {
		name := ""
		if from == "PAUSED" {
			name = "Suspended"
		}
		s.propose(id, from, "name", name, "force", "")
	}
	got := s.propose(id, to, "message", "next")
	is := strings.ToLower(got.Status)
	after := from
	switch {
	case got.Status == "REJECT" && got.Type == "CANCELLED" && from != "CANCELLED":
		is, after = "ends", "CANCELLED"
	case got.Status == "ACCEPT":
		after = to
	}
	if is != want {
		s.Errorf("%s after %s: %s (%s), want %s", to, from, is, got.Reason, want)
		return
	}
	run := s.run(id)
	if got.Type != after || run["state_type"] != after {
		s.Errorf("%s after %s, %s: the answer has %s, the run is %v", to, from, is, got.Type, run["state_type"])
	}
	finished := slices.Contains([]string{"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}, after)
	began := run["start_time"] != nil
	if wants := finished && (began || s.since("3.0.0")); (run["end_time"] != nil) != wants {
		s.Errorf("%s after %s, %s: the run's end is %v", to, from, is, run["end_time"])
	}
	if (run["next_scheduled_start_time"] != nil) != (after == "SCHEDULED") {
		s.Errorf("%s after %s, %s: the run is due at %v", to, from, is, run["next_scheduled_start_time"])
	}
	count := 0.0
	for _, begun := range []bool{from == "RUNNING", to == "RUNNING" && is == "accept"} {
		if begun {
			count++
		}
	}
	if run["run_count"] != count {
		s.Errorf("%s after %s, %s: run_count is %v, want %v", to, from, is, run["run_count"], count)
	}
}
