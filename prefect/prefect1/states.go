package prefect1

import (
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// The states that this package writes or branches on, spelled as the API spells them.
const (
	stateScheduled  = "Scheduled"
	statePaused     = "Paused"
	stateRetrying   = "Retrying"
	stateQueued     = "Queued"
	stateSubmitted  = "Submitted"
	stateRunning    = "Running"
	stateCancelling = "Cancelling"
	stateCancelled  = "Cancelled"
	stateFailed     = "Failed"
)

// scheduledStates are the states from which a run can be claimed once its start time is
// reached (prefect1 §2.2, `is_scheduled`).
func scheduledStates() []string {
	return []string{stateScheduled, statePaused, "Resume", stateRetrying, stateQueued}
}

// finishedStates are the terminal ones (prefect1 §2.2).
func finishedStates() []string {
	return []string{
		"Finished", "Success", "Cached", "Mapped", "Skipped", "Looped",
		stateFailed, "TimedOut", "TriggerFailed", "ValidationFailed", stateCancelled,
	}
}

// phaseOf maps the name of a state to a phase. Only a person ends a Paused without a
// start time. Pending, before anybody has scheduled a run, and unknown names are
// prefect.Other.
func phaseOf(name string, start time.Time) prefect.Phase {
	switch {
	case name == statePaused && start.IsZero():
		return prefect.Held
	case slices.Contains(scheduledStates(), name):
		return prefect.Waiting
	case name == stateSubmitted:
		return prefect.Claimed
	case name == stateRunning:
		return prefect.Running
	case name == stateCancelling:
		return prefect.Cancelling
	case name == stateCancelled:
		return prefect.Cancelled
	case slices.Contains(finishedStates(), name):
		return prefect.Finished
	}
	return prefect.Other
}
