package prefecttest

import (
	"fmt"
	"slices"
	"time"
)

// coreVersion is what the server stamps on states.
const coreVersion = "1.4.1"

// state is a state as the database keeps it: parsed and written anew, so unknown
// fields are gone and the usual ones are filled in (prefect1-server-facts h).
type state struct {
	Type, Message string
	StartTime     time.Time
	fields        map[string]any
}

func scheduledFamily() []string {
	return []string{"Scheduled", "Paused", "Resume", "Retrying", "Queued"}
}

func isScheduled(t string) bool { return slices.Contains(scheduledFamily(), t) }

func isFinished(t string) bool {
	return slices.Contains([]string{
		"Finished", "Success", "Cached", "Mapped", "Skipped", "Looped", "Failed", "TimedOut", "TriggerFailed", "ValidationFailed", "Cancelled",
	}, t)
}

func isKnown(t string) bool {
	return isScheduled(t) || isFinished(t) ||
		slices.Contains([]string{"State", "Pending", "Submitted", "Running", "Cancelling", "ClientFailed"}, t)
}

// keptFields survive the server's parsing; all others are dropped.
func keptFields() []string {
	return []string{
		"type", "message", "context", "cached_inputs", "_result", "start_time", "run_count", "state",
		"n_map_states", "hashed_inputs", "cached_result_expiration", "cached_parameters", "loop_count",
	}
}

// parseState reads a state as the server does; its errors are the server's.
func parseState(v any) (state, error) {
	in, ok := v.(map[string]any)
	if !ok {
		return state{}, fmt.Errorf("{'_schema': 'Invalid data type: %v'}", v)
	}
	kind, ok := in["type"].(string)
	if !ok {
		return state{}, fmt.Errorf("{'type': ['Missing data for required field.']}")
	}
	if !isKnown(kind) {
		return state{}, fmt.Errorf("{'type': ['Unsupported value: %s']}", kind)
	}
	out := map[string]any{"message": nil, "context": map[string]any{}, "cached_inputs": map[string]any{}, "_result": noResult()}
	for _, name := range keptFields() {
		if value, ok := in[name]; ok && (value != nil || out[name] == nil) {
			out[name] = value
		}
	}
	out["__version__"] = coreVersion
	s := state{Type: kind, fields: out}
	s.Message, _ = out["message"].(string)
	if text, ok := out["start_time"].(string); ok {
		at, err := parseTime(text)
		if err != nil {
			return state{}, fmt.Errorf("{'start_time': ['Not a valid datetime.']}")
		}
		s.StartTime = at
	} else if isScheduled(kind) && kind != "Paused" {
		s.StartTime = time.Now().UTC().Truncate(time.Microsecond)
		out["start_time"] = formatTime(s.StartTime)
	}
	return s, nil
}

func noResult() map[string]any {
	return map[string]any{"type": "NoResultType", "__version__": coreVersion}
}

// mustState is parseState for states written here.
func mustState(v map[string]any) state {
	s, err := parseState(v)
	if err != nil {
		panic(err)
	}
	return s
}

func scheduledState(message string, at time.Time) state {
	return mustState(map[string]any{"type": "Scheduled", "message": message, "start_time": formatTime(at)})
}
