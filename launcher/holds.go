package launcher

import (
	"maps"
	"slices"
	"time"
)

const (
	// maxHold of a run that fails again and again for reasons that may pass, as one
	// whose template's server is away.
	maxHold = time.Minute
	// maxExcept runs on hold are left out of a look.
	maxExcept = 5000
)

// holds keep runs, and Jobs in trouble, from being planned for a while.
type holds struct {
	until    map[string]time.Time
	due      map[string]bool // which of them are due runs
	failures map[string]int  // in a row, where nobody but the run is to blame
}

func newHolds() holds {
	return holds{until: map[string]time.Time{}, due: map[string]bool{}, failures: map[string]int{}}
}

// settle takes note of how an errand ended. A run that fails by itself is held
// for longer each time; when an upstream is away, that is no run's fault.
func (h holds) settle(now time.Time, o outcome) {
	key, hold := o.holdKey(), o.hold
	h.due[key] = o.Kind == Launch || o.Kind == Relaunch || o.Kind == Adopt
	if h.due[key] && o.result == broken && o.blame == none {
		h.failures[key]++
		if grown := now.Add(min(notNow<<min(h.failures[key]-1, 8), maxHold)); grown.After(hold) {
			hold = grown
		}
	} else {
		delete(h.failures, key)
	}
	if hold.After(now) {
		h.until[key] = hold
	}
}

// runs are the due runs on hold. The oldest due runs are read first, and these
// would be read again and again in place of younger ones.
func (h holds) runs(now time.Time) []string {
	var ids []string
	for _, key := range slices.Sorted(maps.Keys(h.until)) {
		if h.due[key] && h.until[key].After(now) && len(ids) < maxExcept {
			ids = append(ids, key)
		}
	}
	return ids
}

// forget drops what does not matter any more. Failures are remembered for a while
// after the hold is over, because that is when the run is tried again.
func (h holds) forget(now time.Time) {
	for key := range h.due {
		if now.Sub(h.until[key]) > maxHold {
			delete(h.until, key)
			delete(h.due, key)
			delete(h.failures, key)
		}
	}
}
