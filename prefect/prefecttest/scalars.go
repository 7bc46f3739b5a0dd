package prefecttest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// UUID is an id as the API spells it.
type UUID string

// ImplementsGraphQLType names the scalars this type stands for.
func (UUID) ImplementsGraphQLType(name string) bool { return name == "UUID" || name == "uuid" }

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`) //nolint:gochecknoglobals // compiled once, never changed

// UnmarshalGraphQL refuses what is not a UUID, as PostgreSQL does.
func (u *UUID) UnmarshalGraphQL(input any) error {
	s, ok := input.(string)
	if !ok || !uuidForm.MatchString(s) {
		return invalidUUID(fmt.Sprint(input))
	}
	*u = UUID(strings.ToLower(s))
	return nil
}

func invalidUUID(s string) error { return fmt.Errorf("invalid input syntax for type uuid: %q", s) }

// Time is an instant as the API spells it: microseconds and an offset.
type Time struct{ time.Time }

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

// MarshalJSON prints a column as PostgreSQL does: without trailing zeros.
func (t Time) MarshalJSON() ([]byte, error) {
	return json.Marshal(t.UTC().Format("2006-01-02T15:04:05.999999-07:00"))
}

func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Truncate(time.Microsecond), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time", s)
}

// formatTime prints a time inside a state as Python does: six digits or none.
func formatTime(t time.Time) string {
	if t.Nanosecond() == 0 {
		return t.UTC().Format("2006-01-02T15:04:05-07:00")
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000-07:00")
}

// optionalTime is null when the time is zero.
func optionalTime(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	return &Time{t}
}

// JSON is any value; the API stores many unchanged.
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

type pathArgs struct{ Path *string }

// within is a JSON column's part at a path such as $.a.b, or null; without a path it is
// all of it.
func within(v any, path *string) *JSON {
	for key := range strings.SplitSeq(strings.TrimPrefix(deref(path), "$"), ".") {
		if key == "" {
			continue
		}
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return optionalJSON(v)
}

// labelList tells a list that was not given from null.
type labelList struct {
	given  bool
	Values []string
}

// ImplementsGraphQLType names the type this one stands for.
func (labelList) ImplementsGraphQLType(name string) bool { return name == "[String!]" }

// Nullable makes the library pass null to UnmarshalGraphQL.
func (*labelList) Nullable() {}

// UnmarshalGraphQL takes a list, one string in its place, or null.
func (l *labelList) UnmarshalGraphQL(input any) error {
	l.given = true
	switch input := input.(type) {
	case nil:
	case string:
		l.Values = []string{input}
	case []any:
		l.Values = []string{}
		for _, v := range input {
			s, ok := v.(string)
			if !ok {
				return fmt.Errorf("a label is a string, not %T", v)
			}
			l.Values = append(l.Values, s)
		}
	default:
		return fmt.Errorf("labels are a list of strings, not %T", input)
	}
	return nil
}

// null says whether null was written.
func (l labelList) null() bool { return l.given && l.Values == nil }

//go:fix inline

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func optionalID(id UUID) *UUID {
	if id == "" {
		return nil
	}
	return &id
}

func optionalString(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
