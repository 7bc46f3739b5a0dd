package prefect_test

import (
	"testing"

	"github.com/prefect-keda/prefect-keda/prefect"
)

func TestAttemptsVersion(t *testing.T) {
	for attempt, want := range map[prefect.Attempt]int{"v1": 1, "v12": 12, "": 0, "v": 0, "1": 0, "v01": 0, "v+1": 0, "vv1": 0, "v1 ": 0, "retry-t-v4": 0} {
		got, ok := attempt.Version()
		if ok != (want > 0) || ok && got != want {
			t.Errorf("%q: %d, %v, want %d", attempt, got, ok, want)
		}
	}
}

func TestHistoryIsLate(t *testing.T) {
	for _, tc := range []struct {
		now, reached prefect.StateType
		want         bool
	}{
		{prefect.Submitted, "", false},
		{prefect.Submitted, prefect.Success, true},
		{prefect.Submitted, prefect.Cancelled, true},
		{prefect.Submitted, prefect.Running, true},
		{prefect.Submitted, prefect.Cancelling, true},
		{prefect.Submitted, prefect.Scheduled, true}, // started again, which is another attempt
		{prefect.Submitted, prefect.Paused, true},
		{prefect.Submitted, prefect.Pending, false},
		{prefect.Scheduled, prefect.Scheduled, false},
		{prefect.Success, prefect.Success, false},
		{prefect.Running, prefect.Running, false},
	} {
		h := prefect.History{Run: prefect.FlowRun{State: prefect.State{Type: tc.now}}, Reached: prefect.State{Type: tc.reached}}
		if got := h.IsLate(); got != tc.want {
			t.Errorf("%s after %q: late %v, want %v", tc.now, tc.reached, got, tc.want)
		}
	}
}
