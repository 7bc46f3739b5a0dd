package prefect3

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// The types of states (prefect3 §1.7).
const (
	typeScheduled  = "SCHEDULED"
	typePending    = "PENDING"
	typeRunning    = "RUNNING"
	typeCancelling = "CANCELLING"
	typeCancelled  = "CANCELLED"
	typePaused     = "PAUSED"
	typeCompleted  = "COMPLETED"
	typeFailed     = "FAILED"
	typeCrashed    = "CRASHED"
)

// The names of states that this package writes or decides by.
const (
	nameScheduled    = "Scheduled"
	nameLate         = "Late"
	nameRetry        = "AwaitingRetry"
	nameAwaitsSlot   = "AwaitingConcurrencySlot"
	namePending      = "Pending"
	nameSubmitting   = "Submitting"
	nameInfraPending = "InfrastructurePending"
)

// phaseOf maps the type of a state to a phase. A type that is not known is prefect.Other.
func phaseOf(kind string) prefect.Phase {
	switch kind {
	case typeScheduled:
		return prefect.Waiting
	case typePaused:
		return prefect.Held
	case typePending:
		return prefect.Claimed
	case typeRunning:
		return prefect.Running
	case typeCancelling:
		return prefect.Cancelling
	case typeCancelled:
		return prefect.Cancelled
	case typeCompleted, typeFailed, typeCrashed:
		return prefect.Finished
	}
	return prefect.Other
}

// state is one as the API answers it.
type state struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	Name      string `json:"name"`
	Timestamp moment `json:"timestamp"`
	Message   string `json:"message"`
	Details   struct {
		Scheduled  moment `json:"scheduled_time"`
		Transition string `json:"transition_id"`
		Lease      string `json:"deployment_concurrency_lease_id"`
	} `json:"state_details"`
	// raw is the state as it came.
	raw json.RawMessage
}

// UnmarshalJSON keeps the state as it came.
func (s *state) UnmarshalJSON(text []byte) error {
	type plain state
	err := json.Unmarshal(text, (*plain)(s))
	s.raw = json.RawMessage(append([]byte(nil), text...))
	return err
}

// domain is the state in the words of package prefect.
func (s *state) domain() prefect.State {
	out := prefect.State{Phase: phaseOf(s.Type), Name: s.Name, Message: s.Message, Opaque: s.raw}
	if s.Type == typeScheduled {
		out.StartTime = s.Details.Scheduled.Time
		out.Limited = s.Name == nameAwaitsSlot
		out.Message, _ = returnedIn(s.Message)
	}
	return out
}

// moment is a time as the API writes it; null and nonsense are zero.
type moment struct{ time.Time }

// UnmarshalJSON never fails: an odd time must not hide the rest of a row.
func (m *moment) UnmarshalJSON(text []byte) error {
	m.Time = timeOf(strings.Trim(string(text), `"`))
	return nil
}

// timeOf reads the forms that servers write: with Z, with an offset, with a space.
func timeOf(s string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// formatTime writes a time with all that the server keeps of it: microseconds.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }
