package prefect

import "time"

// FlowRun is one execution of a flow, as far as claiming it and rendering its Job need it.
type FlowRun struct {
	ID   string
	Name string
	// Attempt names the present scheduling of the run. The backend sets it.
	Attempt Attempt
	// Revision differs after each state that is written. Only the backend parses it.
	Revision string
	// Fresh is set if the run was never scheduled before, so that it cannot have a Job.
	Fresh bool
	State State
	// Due is when the run may start. Zero has always been due; do not print it.
	Due   time.Time
	Place Place
	// FlowName is for people.
	FlowName string
	// JobFirst is set for a Running run that cannot be claimed before the Job for it
	// exists: the claim is for something inside the run. DueRuns has such a run without
	// parts that its claim needs.
	JobFirst bool
	// Arbitrated is set if Prefect itself refuses the claim of a run that somebody has claimed
	// since it was read.
	Arbitrated bool
	// Recipe is for the backend's claim and its renderer's Job. Nobody else opens it. It is
	// nil in answers that bring only part of a run.
	Recipe any
	// Fault says why no Job can be made of the run, whatever its recipe; nil if the backend
	// knows of no reason.
	Fault *AuthorError
	// Claim is our launcher's note in the Claimed state; nil if the run is not Claimed or
	// somebody else claimed it.
	Claim *Claim
	// LastClaim is the last claim of a JobFirst run; nil if none of our launchers made it.
	LastClaim *Claim
	// HasJob is set if Prefect knows of the Job of Claim. If it is not in Kubernetes, it was
	// deleted, and the run gets no other.
	HasJob bool
	// HandedBack is how often a Claimed run was handed back because its pods never began.
	HandedBack int
	// StateAt is when the present state was written; zero if unknown.
	StateAt time.Time
	// ReadAt is when we asked the API, by our own clock.
	ReadAt time.Time
	// Heartbeat is the last one that the backend got; zero if none. It is for people.
	Heartbeat time.Time
	// KeepBy is by when a Claimed run needs a sign of life, by Prefect's clock; zero means
	// never. Prefect waits seven minutes longer: long enough to wake a launcher.
	KeepBy time.Time
}

// Claimable reports whether a launcher may claim the run at now: it is due, and Waiting or
// JobFirst.
func (r FlowRun) Claimable(now time.Time) bool {
	isClaimable := r.State.Phase == Waiting || r.State.Phase == Running && r.JobFirst
	return isClaimable && !r.Due.After(now)
}

// RetriesIn reports whether launchers in a namespace may give a Running run another Job:
// its last Job was there, or none of ours claimed it. A Job in another namespace or
// cluster may have a living pod, and launchers there handle it.
func (r FlowRun) RetriesIn(namespace, uid string) bool {
	return !r.State.Phase.IsRunning() || r.LastClaim == nil || r.LastClaim.IsIn(namespace, uid)
}

// Attempt names one scheduling of one run. Every launcher's backend gives the same state
// the same Attempt, so a name made of it can be the lock (see package job). A reschedule or
// a later retry gets another one. Only the backend parses it.
type Attempt string
