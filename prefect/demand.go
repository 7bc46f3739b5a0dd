package prefect

import "time"

// DueRun is the little that counting needs of a run.
type DueRun struct {
	ID     string
	Labels []string
	// Due is when the run may start; it may lie ahead of the observation.
	Due time.Time
	// LastClaim is as in FlowRun.
	LastClaim *Claim
}

// DueQuery asks which runs a launcher could claim.
type DueQuery struct {
	// Labels are the launcher's.
	Labels []string
	// Until is the due time of the last one asked for.
	Until time.Time
	// Limit is how many are returned at most: so many that are scheduled and so
	// many that wait for a retry.
	Limit int
	// Except are runs that are not asked for, however long they have been due.
	Except []string
	// Namespace and NamespaceUID are where the launcher's Jobs are: runs that retry
	// elsewhere (FlowRun.RetriesIn) are left out.
	Namespace, NamespaceUID string
}

// DueRuns answer a DueQuery.
type DueRuns struct {
	// Runs in due order; of a Running run with only the task that fell due first.
	Runs []FlowRun
	// More is set when there may be more that are due by now.
	More bool
}

// ClaimedRun is a run that a launcher of ours claimed and that no pod has
// started yet.
type ClaimedRun struct {
	ID     string
	Labels []string
	Claim  Claim
	// ClaimedAt is when the claim was written.
	ClaimedAt time.Time
	// Heartbeat is the last one the backend got; zero when none.
	Heartbeat time.Time
}

// LastSign is when the run last gave a sign of life, or had one given for it.
func (r ClaimedRun) LastSign() time.Time {
	if r.Heartbeat.After(r.ClaimedAt) {
		return r.Heartbeat
	}
	return r.ClaimedAt
}

// Observation is one look at what waits in Prefect. No run is in it twice; one that
// changed while the look was taken may be missing.
type Observation struct {
	Due     []DueRun
	Claimed []ClaimedRun
	// Truncated is set when more runs wait than one look returns; the counts
	// are then lower bounds.
	Truncated bool
	// TooLarge is set when that is because runs are so large that an answer holds few.
	TooLarge bool
}

// JobRun is what supervising a Job needs of its run.
type JobRun struct {
	ID     string
	Labels []string
	State  StateType
	// StateAt is when the state was written.
	StateAt time.Time
	// Claim is the one the run was last submitted with; set of Silent runs only.
	Claim Claim
}

// Supervision is what Prefect knows of the runs of Jobs.
type Supervision struct {
	// Troubled are the runs asked for that there are.
	Troubled []JobRun
	// Ending are those of the runs asked for that are being cancelled or have
	// finished: their Jobs should end.
	Ending []JobRun
	// Silent are runs that a launcher of ours submitted, that are running as far
	// as Prefect knows and have given no sign of life for minutes.
	Silent []JobRun
}
