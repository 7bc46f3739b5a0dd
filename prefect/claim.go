package prefect

import "time"

// Claim is the note that a launcher leaves in the state of a run that it claims. The
// server keeps it, so any launcher can finish the work of another.
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

// IsIn reports whether the claim's Job is, or will be, in the namespace with that name
// and UID. A name or UID that an older release left out matches any.
func (c Claim) IsIn(namespace, uid string) bool {
	return (c.Namespace == "" || c.Namespace == namespace) && (c.NamespaceUID == "" || c.NamespaceUID == uid)
}

// Namespaces are the UIDs of namespaces by their names.
type Namespaces map[string]string

// Have reports whether the claim's Job is, or will be, in one of the namespaces.
func (n Namespaces) Have(c Claim) bool {
	for name, uid := range n {
		if c.IsIn(name, uid) {
			return true
		}
	}
	return false
}

// Answer is the outcome of a claim. It is not an error, because nothing is broken in any
// of the four cases.
type Answer int

const (
	// Unknown means that the call may or may not have been applied (a time-out, a lost
	// answer, a server error after the write). The run must be read back.
	Unknown Answer = iota
	// Won means that the run is ours; create its Job.
	Won
	// Lost means that the run is somebody else's, or can no longer be claimed. Forget it.
	Lost
	// NotNow means that the backend refuses at the moment (a lock, a concurrency
	// limit). Look again later.
	NotNow
)

// Answers are all there are.
func Answers() []Answer { return []Answer{Unknown, Won, Lost, NotNow} }

// String is the answer as logs and metric labels spell it.
func (a Answer) String() string { return [...]string{"unknown", "won", "lost", "not_now"}[a] }

// ClaimResult is an Answer with its reason.
type ClaimResult struct {
	Answer Answer
	// Sole is set for a Won claim beside which the backend lets no other claim of the
	// attempt win, so that only this one names the run's Job.
	Sole bool
	// HasSlot is set if the claim holds a slot that Prefect takes back unless it is told of the
	// Job soon.
	HasSlot bool
	// RetryAfter is as in the function of this name.
	RetryAfter time.Duration
	// Reason is the backend's own wording, for logs; may be empty.
	Reason string
}
