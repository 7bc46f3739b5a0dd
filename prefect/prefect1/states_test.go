package prefect1

import (
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

func TestEveryStateHasItsPhase(t *testing.T) {
	for want, names := range map[prefect.Phase][]string{
		prefect.Waiting:    {"Scheduled", "Resume", "Retrying", "Queued"},
		prefect.Held:       {"Paused"},
		prefect.Claimed:    {"Submitted"},
		prefect.Running:    {"Running"},
		prefect.Cancelling: {"Cancelling"},
		prefect.Finished:   {"Finished", "Success", "Cached", "Mapped", "Skipped", "Looped", "Failed", "TimedOut", "TriggerFailed", "ValidationFailed"},
		prefect.Cancelled:  {"Cancelled"},
		// Unknown states count as unfinished.
		prefect.Other: {"Pending", "SomethingNew", ""},
	} {
		for _, name := range names {
			if got := phaseOf(name, time.Time{}); got != want {
				t.Errorf("%q is %s, want %s", name, got, want)
			}
		}
	}
	if got := phaseOf("Paused", time.Now()); got != prefect.Waiting {
		t.Errorf("paused until a time is %s, want waiting: it goes on by itself", got)
	}
}
