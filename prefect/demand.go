package prefect

import "time"

// DueRun is the little that counting needs of a run.
type DueRun struct {
	ID     string
	Labels []string
	// Due is when the run may start; it may lie ahead of the observation.
	Due time.Time
}

// ClaimedRun is a run that a launcher of ours claimed and that no pod has
// started yet.
type ClaimedRun struct {
	ID     string
	Labels []string
	Claim  Claim
	// ClaimedAt is when the claim was written.
	ClaimedAt time.Time
}

// Observation is one consistent look at what waits in Prefect.
type Observation struct {
	Due     []DueRun
	Claimed []ClaimedRun
	// Truncated is set when more runs wait than one look returns; the counts
	// are then lower bounds.
	Truncated bool
}
