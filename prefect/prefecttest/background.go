package prefecttest

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

const (
	// staleAfter is how old a heartbeat has to be for the services to act.
	staleAfter = 10 * time.Minute
	// lazarusTries is how often a run is rescheduled before it is given up.
	lazarusTries = 3
	// lazarusLogger is the name in Lazarus' log lines.
	lazarusLogger = "prefect-server.Lazarus.FlowRun"
)

// Lazarus does one round of the Lazarus process, which the real server does
// every ten minutes, and returns how many runs it touched.
func (a *API) Lazarus() int {
	s := a.store
	s.mu.Lock()
	defer s.mu.Unlock()
	touched := 0
	for _, r := range s.inState("Submitted", "Running") {
		if !s.stale(r) || !s.flows[r.FlowID].enabled("lazarus_enabled") || slices.ContainsFunc(r.taskRuns, func(t *taskRun) bool {
			return slices.Contains([]string{"Scheduled", "Paused", "Resume", "Retrying", "Running", "Cancelling"}, t.State.Type)
		}) {
			continue
		}
		touched++
		message := "Rescheduled by a Lazarus process."
		if r.Resurrected == lazarusTries {
			message = "A Lazarus process attempted to reschedule this run 3 times without success. Marking as failed."
			s.setState(r, plainState("Failed", message, time.Time{}))
		} else {
			r.Resurrected++
			s.setState(r, plainState("Scheduled", message, s.clock()))
		}
		s.logs[r.ID] = append(s.logs[r.ID], LogLine{ID: string(newID()), Name: lazarusLogger, Level: "INFO", Message: message, At: s.clock()})
	}
	return touched
}

// ZombieKiller does one round of the zombie killer, which the real server does
// every two minutes, and returns how many task runs and flow runs it touched.
func (a *API) ZombieKiller() int {
	s := a.store
	s.mu.Lock()
	defer s.mu.Unlock()
	touched := 0
	for _, r := range inOrder(s.runs, func(r *flowRun) int { return r.made }) {
		if !s.stale(r) {
			continue
		}
		for _, t := range r.taskRuns {
			if t.State.Type == "Running" {
				touched++
				s.setTaskState(t, s.killed(t))
			}
		}
		if r.State.Type == "Cancelling" {
			touched++
			s.setState(r, plainState("Failed", "No heartbeat detected from the flow run; marking the run as failed.", time.Time{}))
		}
	}
	return touched
}

// killed is Retrying while the task has retries left.
func (s *store) killed(t *taskRun) state {
	if t.retries >= t.task.MaxRetries {
		return plainState("Failed", "No heartbeat detected from the remote task; marking the run as failed.", time.Time{})
	}
	st := plainState("Retrying", "No heartbeat detected from the remote task; retrying the run.", s.clock())
	st.fields["run_count"] = t.retries + 1
	return st
}

// stale takes no run for dead that never had a heartbeat, nor one of a flow whose
// heartbeats are turned off.
func (s *store) stale(r *flowRun) bool {
	return !r.Heartbeat.IsZero() && s.clock().Sub(r.Heartbeat) >= staleAfter && s.flows[r.FlowID].enabled("heartbeat_enabled")
}

func (f *flow) enabled(setting string) bool { return f.Settings[setting] != false }

func (s *store) inState(names ...string) []*flowRun {
	var rows []*flowRun
	for _, name := range names {
		rows = slices.AppendSeq(rows, maps.Values(s.byState[name]))
	}
	slices.SortFunc(rows, func(a, b *flowRun) int { return cmp.Compare(a.made, b.made) })
	return rows
}
