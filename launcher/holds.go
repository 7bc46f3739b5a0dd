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

// settle takes note of how an errand ended. What fails by itself is held for
// longer each time.
func (h holds) settle(now time.Time, o outcome) {
	key, hold := o.holdKey(), o.hold
	h.due[key] = o.isDue()
	if longest := o.longestHold(); longest > 0 {
		h.failures[key]++
		if grown := now.Add(min(notNow<<min(h.failures[key]-1, 10), longest)); grown.After(hold) {
			hold = grown
		}
	} else {
		delete(h.failures, key)
	}
	if hold.After(now) {
		h.until[key] = hold
	}
	switch key := o.returnKey(); {
	case o.result == returned && o.err != nil: // the operator's to see to
		h.failures[key]++
		h.until[key], h.due[key] = now, false
	case o.result == done, o.result == adopted:
		delete(h.failures, key)
	}
}

func (a Action) isDue() bool { return a.Kind == Launch || a.Kind == Relaunch || a.Kind == Adopt }

// longestHold is up to how long the subject of an errand that failed is held; zero
// when the failure is not its own. An upstream that is away is no due run's fault. A
// Job in trouble is only tried while Prefect answers looks, and after a while it
// is left to others, so that it keeps no launcher awake.
func (o outcome) longestHold() time.Duration {
	switch {
	case o.result != broken:
		return 0
	case o.Kind == Resolve:
		return maxRefused
	case o.isDue() && o.blame == none:
		return maxHold
	}
	return 0
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
// after the hold is over, because that is when the run, or the Job, is tried again.
func (h holds) forget(now time.Time) {
	for key := range h.due {
		kept := maxHold
		if h.failures[key] > 0 {
			kept = maxRefused
		}
		if now.Sub(h.until[key]) > kept {
			delete(h.until, key)
			delete(h.due, key)
			delete(h.failures, key)
		}
	}
}
