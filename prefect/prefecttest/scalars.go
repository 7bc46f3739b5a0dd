package prefecttest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"time"
)

// UUID is an id as the API spells it.
type UUID string

// ImplementsGraphQLType names the scalars this type stands for.
func (UUID) ImplementsGraphQLType(name string) bool { return name == "UUID" || name == "uuid" }

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`) //nolint:gochecknoglobals // compiled once, never changed

// UnmarshalGraphQL refuses what is not a UUID, in the server's words.
func (u *UUID) UnmarshalGraphQL(input any) error {
	s, ok := input.(string)
	if !ok || !uuidForm.MatchString(s) {
		return fmt.Errorf("Expected type UUID. Could not parse UUID: %v", input) //nolint:revive,staticcheck // the server's text
	}
	*u = UUID(s)
	return nil
}

// Time is an instant as the API spells it: microseconds and an offset.
type Time struct{ time.Time }

// timeLayout is how the server prints times.
const timeLayout = "2006-01-02T15:04:05.999999-07:00"

// ImplementsGraphQLType names the scalars this type stands for.
func (Time) ImplementsGraphQLType(name string) bool {
	return name == "DateTime" || name == "timestamptz"
}

// UnmarshalGraphQL reads RFC 3339 with up to nine digits; more than six are cut.
func (t *Time) UnmarshalGraphQL(input any) error {
	s, ok := input.(string)
	if !ok {
		return fmt.Errorf("a time is a string, not %T", input)
	}
	parsed, err := parseTime(s)
	t.Time = parsed
	return err
}

// MarshalJSON prints the time as the server does.
func (t Time) MarshalJSON() ([]byte, error) { return json.Marshal(formatTime(t.Time)) }

func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Truncate(time.Microsecond), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time", s)
}

func formatTime(t time.Time) string { return t.UTC().Format(timeLayout) }

// optionalTime is null when the time is zero.
func optionalTime(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	return &Time{t}
}

// JSON is any value; the API stores many as they come.
type JSON struct{ Value any }

// ImplementsGraphQLType names the scalars this type stands for.
func (JSON) ImplementsGraphQLType(name string) bool { return name == "JSON" || name == "jsonb" }

// UnmarshalGraphQL takes any value.
func (j *JSON) UnmarshalGraphQL(input any) error {
	// A round trip makes numbers and nested literals what encoding/json makes them.
	b, err := json.Marshal(input)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, &j.Value)
}

// MarshalJSON prints the value.
func (j JSON) MarshalJSON() ([]byte, error) { return json.Marshal(j.Value) }

func optionalJSON(v any) *JSON {
	if v == nil {
		return nil
	}
	return &JSON{v}
}

// contains is PostgreSQL's @> on jsonb.
func contains(whole, part any) bool {
	switch p := part.(type) {
	case map[string]any:
		w, ok := whole.(map[string]any)
		if !ok {
			return false
		}
		for k, v := range p {
			inner, present := w[k]
			if !present || !contains(inner, v) {
				return false
			}
		}
		return true
	case []any:
		w, ok := whole.([]any)
		if !ok {
			return false
		}
		for _, v := range p {
			found := false
			for _, candidate := range w {
				found = found || contains(candidate, v)
			}
			if !found {
				return false
			}
		}
		return true
	}
	return equal(whole, part)
}

func equal(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
