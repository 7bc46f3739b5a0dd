package prefect

import (
	"encoding/json"
	"time"
)

// Phase is the meaning of a state, in words that all backends share. A backend maps its
// own states to phases.
type Phase int

const (
	// Other is any state that the backend cannot map. Such a run counts as unfinished and
	// not claimable: watching a run for too long is better than abandoning it.
	Other Phase = iota
	// Waiting means that the run may be claimed once its start time has come.
	Waiting
	// Held means that the run waits until a person lets it go on.
	Held
	// Claimed means that somebody, not always a launcher of ours, creates or has created
	// the Job, and that no pod has begun the run yet.
	Claimed
	// Running means that a pod executes the run, or that Prefect thinks so.
	Running
	// Cancelling means that the pod of a Running run has been told to stop.
	Cancelling
	// Finished means that the run has ended and was not cancelled.
	Finished
	// Cancelled means that the run was cancelled and has ended.
	Cancelled
)

// String names the phase. People read State.Name instead, which their Prefect shows too.
func (p Phase) String() string {
	return [...]string{"other", "waiting", "held", "claimed", "running", "cancelling", "finished", "cancelled"}[p]
}

// IsWaiting reports whether the run is Waiting or Held: nobody has claimed it.
func (p Phase) IsWaiting() bool { return p == Waiting || p == Held }

// IsRunning reports whether the run is Running or Cancelling.
func (p Phase) IsRunning() bool { return p == Running || p == Cancelling }

// IsFinished reports whether the run is Finished or Cancelled.
func (p Phase) IsFinished() bool { return p == Finished || p == Cancelled }

// State is where a flow run or task run stands.
type State struct {
	Phase Phase
	// Name is the backend's own name of the state, for people. Only the backend decides
	// by it.
	Name    string
	Message string
	// StartTime is when a Waiting run becomes due. Zero is due at once.
	StartTime time.Time
	// Limited is set while the backend itself keeps a Waiting run back, for example
	// because of a concurrency limit. Message says why.
	Limited bool
	// Opaque is the backend's own form of the state. The claim wraps it, so that the pod
	// gets its retries and cached inputs back. Only the backend looks inside.
	Opaque json.RawMessage
}
