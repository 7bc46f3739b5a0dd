package prefect

import "time"

// Claim is the note a launcher leaves in the state it claims a run with. The
// server keeps it, so any launcher can finish what another one began.
type Claim struct {
	// Launcher is the pod that claimed, for people reading the state.
	Launcher string
	// Namespace and Job say where the run's Job is, or will be.
	Namespace string
	Job       string
	// NamespaceUID tells the namespace from those of the same name in other
	// clusters. Claims of older releases lack it.
	NamespaceUID string
	Attempt      Attempt
}

// IsIn reports whether the claim's Job is, or will be, in the namespace with that
// name and UID. What an older release did not write down may be anything.
func (c Claim) IsIn(namespace, uid string) bool {
	return (c.Namespace == "" || c.Namespace == namespace) && (c.NamespaceUID == "" || c.NamespaceUID == uid)
}

// Answer is what came of a claim. It is a value and not an error, because none
// of the four is a fault: errors are for what is broken.
type Answer int

const (
	// Unknown means that the call may or may not have been applied (a time-out, a lost
	// answer, a server error after the write). The run must be read back.
	Unknown Answer = iota
	// Won means that the run is ours; create its Job.
	Won
	// Lost means that the run is somebody else's, or can no longer be claimed. Forget it.
	Lost
	// NotNow means that the backend refuses at the moment (Prefect Server's 30 s lock, a
	// concurrency limit). Look again later.
	NotNow
)

// String is the answer as logs and metric labels spell it.
func (a Answer) String() string {
	switch a {
	case Won:
		return "won"
	case Lost:
		return "lost"
	case NotNow:
		return "not_now"
	default:
		return "unknown"
	}
}

// ClaimResult is an Answer with its circumstances.
type ClaimResult struct {
	Answer Answer
	// RetryAfter is how long the API asked to be left alone, as in the function of
	// this name; zero when it did not.
	RetryAfter time.Duration
	// Reason is the backend's own wording, for logs; may be empty.
	Reason string
}
