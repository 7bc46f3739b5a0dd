package lasting_test

import (
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/lasting"
)

func TestState(t *testing.T) {
	var e lasting.State
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if e.Over() || e.Lasts() || e.For(began) != 0 {
		t.Error("what has not begun is over, or lasts")
	}
	// Asked for every minute, it is told when it begins and every ten.
	for minute := range 25 {
		now := began.Add(time.Duration(minute) * time.Minute)
		if told, want := e.Holds(now), minute%10 == 0; told != want {
			t.Errorf("told after %d minutes: %v", minute, told)
		}
		if !e.Lasts() || e.For(now) != now.Sub(began) {
			t.Errorf("after %d minutes it has lasted %s", minute, e.For(now))
		}
	}
	if !e.Over() || e.Over() || e.Lasts() {
		t.Error("it is not over once")
	}
	if !e.Holds(began) {
		t.Error("when it begins anew, it is not told")
	}
}
