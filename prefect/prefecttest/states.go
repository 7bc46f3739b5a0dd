package prefecttest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// coreVersion is the server's version in states.
const coreVersion = "1.4.1"

// state is a state as the database keeps it: parsed and written anew, without unknown
// fields and with the usual ones filled in (prefect1-server §h). Its fields never change
// after parsing: rows share them.
type state struct {
	Type      string
	Message   *string
	StartTime time.Time
	fields    map[string]any
}

func scheduledFamily() []string {
	return []string{"Scheduled", "Paused", "Resume", "Retrying", "Queued"}
}

// IsScheduled reports whether a state of that name waits to be claimed.
func IsScheduled(t string) bool { return slices.Contains(scheduledFamily(), t) }

// IsFinished reports whether a state of that name is terminal.
func IsFinished(t string) bool {
	return slices.Contains([]string{
		"Finished", "Success", "Cached", "Mapped", "Skipped", "Looped", "Failed", "TimedOut", "TriggerFailed", "ValidationFailed", "Cancelled",
	}, t)
}

func isKnown(t string) bool {
	return IsScheduled(t) || IsFinished(t) ||
		slices.Contains([]string{"State", "Pending", "Submitted", "Running", "Cancelling", "ClientFailed"}, t)
}

// keptFields survive the server's parsing; all others are dropped.
func keptFields() []string {
	return []string{
		"type", "message", "context", "cached_inputs", "_result", "start_time", "run_count", "state",
		"n_map_states", "hashed_inputs", "cached_result_expiration", "cached_parameters", "loop_count",
	}
}

// parseState reads a state as the server does at a time; its errors are the server's.
func parseState(v any, now time.Time) (state, error) {
	in, ok := v.(map[string]any)
	if !ok {
		return state{}, fmt.Errorf("{'_schema': 'Invalid data type: %v'}", v)
	}
	kind, ok := in["type"].(string)
	if !ok {
		return state{}, errors.New("{'type': ['Missing data for required field.']}")
	}
	if !isKnown(kind) {
		return state{}, fmt.Errorf("{'type': ['Unsupported value: %s']}", kind)
	}
	if result, given := in["_result"]; given && result == nil {
		return state{}, errors.New("{'_result': ['Field may not be null.']}")
	}
	out := map[string]any{"message": nil, "context": map[string]any{}, "cached_inputs": map[string]any{}, "_result": noResult()}
	for _, name := range keptFields() {
		if value, ok := in[name]; ok && (value != nil || out[name] == nil) {
			out[name] = value
		}
	}
	out["__version__"] = coreVersion
	s := state{Type: kind, fields: out}
	if message, ok := out["message"].(string); ok {
		s.Message = &message
	}
	if wrapped, ok := out["state"].(map[string]any); ok {
		inner, err := parseState(wrapped, now)
		if err != nil {
			return state{}, err
		}
		out["state"] = inner.fields
	}
	if text, ok := out["start_time"].(string); ok {
		at, err := parseTime(text)
		if err != nil {
			return state{}, errors.New("{'start_time': ['Not a valid datetime.']}")
		}
		s.StartTime = at
	} else if IsScheduled(kind) && kind != "Paused" {
		s.StartTime = now
	}
	if !s.StartTime.IsZero() {
		out["start_time"] = formatTime(s.StartTime)
	}
	return s, nil
}

func noResult() map[string]any {
	return map[string]any{"type": "NoResultType", "__version__": coreVersion}
}

// carryingInputs is the state with another's cached inputs, unless it has its own.
func (s state) carryingInputs(from state) state {
	own, _ := s.fields["cached_inputs"].(map[string]any)
	old, _ := from.fields["cached_inputs"].(map[string]any)
	if len(own) > 0 || len(old) == 0 {
		return s
	}
	s.fields = maps.Clone(s.fields)
	s.fields["cached_inputs"] = old
	return s
}

// plainState is a state by the server, with a type and a message.
func plainState(kind, message string, start time.Time) state {
	fields := map[string]any{
		"type": kind, "message": message, "context": map[string]any{}, "cached_inputs": map[string]any{},
		"_result": noResult(), "__version__": coreVersion,
	}
	if !start.IsZero() {
		fields["start_time"] = formatTime(start)
	}
	return state{Type: kind, Message: &message, StartTime: start, fields: fields}
}

// newTaskState is a new task run's state; the database has no more of it.
func newTaskState() state {
	message := "Task run created"
	return state{Type: "Pending", Message: &message, fields: map[string]any{"type": "Pending", "message": message}}
}
