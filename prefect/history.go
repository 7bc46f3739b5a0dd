package prefect

import "time"

// History is what happened to a claimed run since the attempt of its claim was scheduled.
type History struct {
	// Run is the run as it is now.
	Run FlowRun
	// Claims of our launchers, oldest first. The server may accept several of one attempt.
	Claims []Claim
	// Reached is the newest state other than a claim: it shows how far the run has come.
	// It is empty if the run was only claimed.
	Reached State
}

// IsLate reports whether a slow server applied the run's present claim late: after the
// run had begun or ended with another claim of the attempt, or after it had been scheduled
// again, as a new attempt.
func (h History) IsLate() bool {
	return h.Run.State.Phase == Claimed && h.Reached.Phase != Other && h.Reached.Phase != Claimed
}

// PastState is a past or present state of a run, for people to read.
type PastState struct {
	State
	// At is when it was written.
	At time.Time
	// Claim is our launcher's note in it, if any.
	Claim *Claim
}
