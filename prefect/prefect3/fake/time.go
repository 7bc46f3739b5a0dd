package fake

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// stamp is a time as the server writes it: microseconds, and null for none.
type stamp struct{ time.Time }

func (t stamp) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	u := t.UTC()
	layout := "2006-01-02T15:04:05.000000Z"
	if u.Nanosecond()/1000 == 0 {
		layout = "2006-01-02T15:04:05Z"
	}
	return json.Marshal(u.Format(layout))
}

// UnmarshalJSON reads RFC 3339, also with a space for the T and without a zone.
func (t *stamp) UnmarshalJSON(text []byte) error {
	var s *string
	if err := json.Unmarshal(text, &s); err != nil || s == nil {
		return err
	}
	spelled := strings.Replace(*s, " ", "T", 1)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if at, err := time.Parse(layout, spelled); err == nil {
			t.Time = at.UTC().Truncate(time.Microsecond)
			return nil
		}
	}
	return fmt.Errorf("Unable to parse string [%s]", *s) //nolint:staticcheck // the server's words
}

// clock is now as the database stores it.
func (s *store) clock() time.Time { return s.options.Now().UTC().Truncate(time.Microsecond) }
