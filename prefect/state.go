package prefect

import (
	"encoding/json"
	"slices"
	"time"
)

// StateType is the name of a Prefect 1.x state, spelled as the API spells it.
type StateType string

// The states this project branches on or writes; prefect1-spec §2.2 lists all.
const (
	Scheduled  StateType = "Scheduled"
	Paused     StateType = "Paused"
	Resume     StateType = "Resume"
	Retrying   StateType = "Retrying"
	Queued     StateType = "Queued"
	Pending    StateType = "Pending"
	Submitted  StateType = "Submitted"
	Running    StateType = "Running"
	Cancelling StateType = "Cancelling"
	Cancelled  StateType = "Cancelled"
	Success    StateType = "Success"
	Failed     StateType = "Failed"
)

// ScheduledFamily are the states a run can be claimed from once its start time
// is reached (prefect1-spec §2.2, `is_scheduled`).
func ScheduledFamily() []StateType {
	return []StateType{Scheduled, Paused, Resume, Retrying, Queued}
}

// IsScheduled reports whether s belongs to the Scheduled family.
func (s StateType) IsScheduled() bool { return slices.Contains(ScheduledFamily(), s) }

// IsRunning reports whether s belongs to the Running family.
func (s StateType) IsRunning() bool { return s == Running || s == Cancelling }

// FinishedFamily are the terminal states (prefect1-spec §2.2).
func FinishedFamily() []StateType {
	return []StateType{
		"Finished", Success, "Cached", "Mapped", "Skipped", "Looped",
		Failed, "TimedOut", "TriggerFailed", "ValidationFailed", Cancelled,
	}
}

// IsFinished reports whether s is terminal. A state whose name we do not know is
// taken as unfinished: better watched too long than abandoned.
func (s StateType) IsFinished() bool { return slices.Contains(FinishedFamily(), s) }

// State is where a flow run or task run stands.
type State struct {
	Type    StateType
	Message string
	// StartTime is when a Scheduled-family state becomes due. Zero means the
	// state names no time: due at once, except Paused, which then never is.
	StartTime time.Time
	// Opaque is the backend's own form of the state. The claim wraps it so that
	// the pod can unwrap what it was scheduled with (retries, cached inputs);
	// nobody but the backend that produced it may look inside.
	Opaque json.RawMessage
}

// WaitsForAPerson reports whether only a person ends the state: Paused without a
// start time.
func (s State) WaitsForAPerson() bool { return s.Type == Paused && s.StartTime.IsZero() }
