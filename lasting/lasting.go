// Package lasting decides when to tell of something that lasts: when it begins, every ten
// minutes while it lasts, and when it is over. Somebody who reads only the end of a log
// then still finds it.
package lasting

import "time"

// Every is the time between two tellings.
const Every = 10 * time.Minute

// State follows one thing that may last; its zero value has not begun. It is not safe for
// concurrent use.
type State struct{ since, told time.Time }

// Holds notes that the thing lasts, and reports whether to tell it now.
func (e *State) Holds(now time.Time) bool {
	if e.since.IsZero() {
		e.since = now
	} else if now.Sub(e.told) < Every {
		return false
	}
	e.told = now
	return true
}

// Over notes that the thing has ended, and reports whether it had lasted until now.
func (e *State) Over() bool {
	held := e.Lasts()
	*e = State{}
	return held
}

// Lasts reports whether Holds was called since the last Over.
func (e *State) Lasts() bool { return !e.since.IsZero() }

// For is how long it has lasted.
func (e *State) For(now time.Time) time.Duration {
	if !e.Lasts() {
		return 0
	}
	return now.Sub(e.since)
}
