package prefect3

import (
	"encoding/json"
	"testing"
	"time"
)

// Whatever a row holds, it is read or refused, and one that is read has what launchers go
// by.
func FuzzRow(f *testing.F) {
	f.Add(`{"id":"1","state_id":"2","state_type":"PENDING","state":{"id":"2","type":"PENDING","message":null,"timestamp":"2026-11-28T11:32:13.491545Z"},"labels":{"prefect-keda.lease":"x until y"}}`)
	f.Add(`{"id":"1","state_id":"2","state":null,"labels":{"prefect.worker.name":5}}`)
	f.Add(`{"id":"1","state_id":"2","state_type":"SCHEDULED","state_name":"AwaitingConcurrencySlot","expected_start_time":"2026-11-28 11:32:13+00:00","next_scheduled_start_time":7}`)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := rowOf(json.RawMessage(text), time.Now())
		if err != nil {
			return
		}
		run := r.run()
		if run.ID == "" || run.Attempt == "" || run.Revision == "" {
			t.Errorf("%+v", run)
		}
		r.isOthers()
	})
}

func TestTimes(t *testing.T) {
	want := time.Date(2026, 11, 28, 11, 32, 13, 491545000, time.UTC)
	for _, text := range []string{"2026-11-28T11:32:13.491545Z", "2026-11-28T11:32:13.491545+00:00", "2026-11-28 12:32:13.491545+01:00", "2026-11-28T11:32:13.491545"} {
		if got := timeOf(text); !got.Equal(want) {
			t.Errorf("%s is read as %s", text, got)
		}
	}
	if formatTime(want) != "2026-11-28T11:32:13.491545Z" {
		t.Errorf("it is written as %s", formatTime(want))
	}
}

func TestVersions(t *testing.T) {
	for _, tc := range []struct {
		version, since string
		less           bool
	}{
		{"3.9.1", "3.10.0", true},
		{"3.10.0", "3.9.1", false},
		{"2.20.26", "3.1.6", true},
		{"3.1.6", "3.1.6", false},
		{"3.4.11rc1", "3.4.11", false},
		{"3.7.0.dev5", "3.6.22", false},
		{"3", "3.0.1", true},
		{"", "3.0.0", true},
	} {
		if got := less(tc.version, tc.since); got != tc.less {
			t.Errorf("%q is less than %q: %v", tc.version, tc.since, got)
		}
	}
}
