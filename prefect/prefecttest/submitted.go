package prefecttest

import (
	"maps"
	"time"
)

// submittedFor is how long one API process remembers a submission.
const submittedFor = 30 * time.Second

// submitted is the memory of the API processes beside the database, and the only lock
// (prefect1-server §a).
type submitted struct {
	processes []map[UUID]time.Time
	turn      int
}

func newSubmitted(replicas int) submitted {
	var s submitted
	for range max(1, replicas) {
		s.processes = append(s.processes, map[UUID]time.Time{})
	}
	return s
}

// process picks the process for the next request.
func (s *submitted) process() map[UUID]time.Time {
	s.turn++
	return s.processes[s.turn%len(s.processes)]
}

// take refuses a run that this process saw submitted lately, even when the run is
// Scheduled again.
func take(process map[UUID]time.Time, id UUID, now time.Time) bool {
	if at, locked := process[id]; locked && now.Sub(at) < submittedFor {
		return false
	}
	if len(process) >= 10_000 { // not at every submission, which would pay for all before it
		maps.DeleteFunc(process, func(_ UUID, at time.Time) bool { return now.Sub(at) >= submittedFor })
	}
	process[id] = now
	return true
}

// forget does what a restart does.
func (s *submitted) forget() {
	for _, process := range s.processes {
		clear(process)
	}
}
