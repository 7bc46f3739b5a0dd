package prefect1

import (
	"strconv"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

// Whatever a proxy wants, the pause is one that a launcher can keep.
func FuzzRetryAfter(f *testing.F) {
	for _, header := range []string{"", "0", "77", "-1", "99999999999999999999", "1.5", "Fri, 31 Dec 9999 23:59:59 GMT", "Sat, 28 Nov 2026 11:32:13 GMT"} {
		f.Add(header)
	}
	now := time.Date(2026, 11, 28, 11, 32, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, header string) {
		pause := retryAfter(header, now)
		if pause < 0 || pause > exchange.MaxRetryAfter {
			t.Fatalf("%q asks for %s", header, pause)
		}
		if seconds, err := strconv.Atoi(header); err == nil && seconds >= 0 && seconds <= int(exchange.MaxRetryAfter/time.Second) && pause != time.Duration(seconds)*time.Second {
			t.Fatalf("%q asks for %s", header, pause)
		}
	})
}

// Times and attempts come back as they are written, in whichever form they came.
func FuzzTimesAndAttempts(f *testing.F) {
	f.Add("2026-11-28T11:32:13.491545+00:00", "v3")
	f.Add("2026-11-28 11:32:13.49-05", "v03")
	f.Add("9999-12-31T23:59:59.9999999-23:59", "retry-1-v2")
	f.Add("0000-01-01T00:00:00+23:59", "v-1")
	f.Fuzz(func(t *testing.T, text, attempt string) {
		if at := timeOf(text); at.Year() > 0 && at.Year() < 10_000 {
			if again := timeOf(formatTime(at)); !again.Equal(at.Truncate(time.Microsecond)) {
				t.Fatalf("%q is %s, written %s, read %s", text, at, formatTime(at), again)
			}
		}
		if version, ok := versionOf(prefect.Attempt(attempt)); ok && attempt != "v"+strconv.Itoa(version) {
			t.Fatalf("%q is version %d", attempt, version)
		}
	})
}
