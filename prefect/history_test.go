package prefect_test

import (
	"testing"

	"github.com/prefect-keda/prefect-keda/prefect"
)

func TestHistoryIsLate(t *testing.T) {
	for _, tc := range []struct {
		now, reached prefect.Phase
		want         bool
	}{
		{prefect.Claimed, prefect.Other, false}, // it was only claimed, or got into a state that is not known
		{prefect.Claimed, prefect.Finished, true},
		{prefect.Claimed, prefect.Cancelled, true},
		{prefect.Claimed, prefect.Running, true},
		{prefect.Claimed, prefect.Cancelling, true},
		{prefect.Claimed, prefect.Waiting, true}, // started again, which is another attempt
		{prefect.Claimed, prefect.Held, true},
		{prefect.Waiting, prefect.Waiting, false},
		{prefect.Finished, prefect.Finished, false},
		{prefect.Running, prefect.Running, false},
	} {
		h := prefect.History{Run: prefect.FlowRun{State: prefect.State{Phase: tc.now}}, Reached: prefect.State{Phase: tc.reached}}
		if got := h.IsLate(); got != tc.want {
			t.Errorf("%s after %q: late %v, want %v", tc.now, tc.reached, got, tc.want)
		}
	}
}
