package prefect

import "time"

// DueRun is a due run, as far as demand needs it.
type DueRun struct {
	ID    string
	Place Place
	// Due is when the run may start; it may be later than the observation.
	Due time.Time
	// LastClaim is as in FlowRun.
	LastClaim *Claim
}

// DueQuery asks which runs a launcher could claim.
type DueQuery struct {
	Scope Scope
	// Until is the latest due time in the answer.
	Until time.Time
	// Limit bounds the answer: so many Waiting runs and so many JobFirst runs.
	Limit int
	// Except are ids of runs to leave out.
	Except []string
	// Namespace and NamespaceUID say where the launcher's Jobs are. The answer leaves out
	// JobFirst runs that belong elsewhere (FlowRun.RetriesIn).
	Namespace, NamespaceUID string
}

// DueRuns answer a DueQuery.
type DueRuns struct {
	// Runs in due order. A JobFirst run lacks parts that its claim needs.
	Runs []FlowRun
	// More is set when more runs may be due by now.
	More bool
}

// ClaimedRun is a run that a launcher of ours claimed and that no pod has
// started yet.
type ClaimedRun struct {
	ID    string
	Place Place
	Claim Claim
	// KeepBy is as in FlowRun; KeepFor is the time from a sign of life to the next KeepBy.
	KeepBy  time.Time
	KeepFor time.Duration
}

// HeldRun is a run that is due, or will be within the time of the poll, and that Prefect
// keeps back: its work pool or queue is paused, or a concurrency limit is used up. It is not
// demand, since no launcher could take it.
type HeldRun struct {
	ID    string
	Place Place
	// Why tells people what keeps it back.
	Why string
}

// Observation is the answer to one poll of the runs that wait in Prefect. No run is in it
// twice; a run that changed during the poll may be missing.
type Observation struct {
	Due     []DueRun
	Claimed []ClaimedRun
	Held    []HeldRun
	// Ending are runs that are being cancelled, so that a launcher need not wait for
	// Supervise to tell of them. A backend may leave them all to Supervise.
	Ending []JobRun
	// Truncated is set when more runs wait than one poll returns and a launcher might take
	// some of the others; the counts are then lower bounds. If all others are sure to be
	// held back as well, for example in a paused work pool, nothing is truncated.
	Truncated bool
	// TooLarge is set when large runs are the reason for Truncated.
	TooLarge bool
}

// JobRun is the run of a Job, as far as supervision needs it.
type JobRun struct {
	ID    string
	Place Place
	Phase Phase
	// StateAt is when the state was written.
	StateAt time.Time
	// NeverBegan is set for a Cancelling run that no pod has begun in this attempt, so
	// that no pod will end it either. Its Job need not be waited for.
	NeverBegan bool
	// Claim is the run's last claim; only Silent runs have it.
	Claim Claim
}

// Supervision is what Prefect knows of the runs of Jobs.
type Supervision struct {
	// Troubled are the runs with troubled Jobs that the caller named and Prefect knows.
	Troubled []JobRun
	// Ending are runs with active Jobs that the caller named and that are being cancelled
	// or have finished: their Jobs should end.
	Ending []JobRun
	// Silent are runs that a launcher of ours claimed, that are Running or Cancelling as far
	// as Prefect knows, and that have given no sign of life for minutes; from Cancelling runs
	// that never began none is awaited.
	Silent []JobRun
}
