package launcher

import (
	"maps"
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/backoff"
	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/trouble/resolve"
)

const (
	// maxBackoff of a run that keeps failing for reasons that may pass, as when its
	// template's server is away.
	maxBackoff = time.Minute
	// maxExcept runs in backoff are left out of a poll.
	maxExcept = 5000
)

// backoffs keep runs and Jobs in trouble from being planned for a while.
type backoffs struct {
	until    map[string]time.Time
	due      map[string]bool // the keys of due runs
	failures map[string]int  // in a row, of the run itself
}

func newBackoffs() backoffs {
	return backoffs{until: map[string]time.Time{}, due: map[string]bool{}, failures: map[string]int{}}
}

// apply takes the end of an action. A subject that fails by itself waits longer each time.
func (b backoffs) apply(now time.Time, o outcome) {
	key, wait := o.backoffKey(), o.backoff
	b.due[key] = o.isDue()
	if longest := o.longestBackoff(); longest > 0 {
		b.failures[key]++
		if grown := now.Add(backoff.Growing{First: claims.NotNow, Longest: longest}.After(b.failures[key])); grown.After(wait) {
			wait = grown
		}
	} else {
		delete(b.failures, key)
	}
	if wait.After(now) {
		b.until[key] = wait
	}
	switch key := o.handedBackKey(); {
	case o.result == handedBack && o.err != nil: // for the operator to mend
		b.failures[key]++
		b.until[key], b.due[key] = now, false
	case o.result == done, o.result == adopted:
		delete(b.failures, key)
	}
}

func (a Action) isDue() bool { return a.Kind == Launch || a.Kind == Relaunch || a.Kind == Adopt }

// longestBackoff of the subject of a failed action; zero when an upstream is to blame. A
// Job in trouble waits so long in the end that it keeps no launcher awake.
func (o outcome) longestBackoff() time.Duration {
	switch {
	case o.result != broken:
		return 0
	case o.Kind == Resolve:
		return resolve.MaxRefused
	case o.isDue() && o.blame == none:
		return maxBackoff
	}
	return 0
}

// runs are the due runs in backoff. Prefect answers the oldest due runs first, so these
// would take the place of younger ones in every poll.
func (b backoffs) runs(now time.Time) []string {
	var ids []string
	for _, key := range slices.Sorted(maps.Keys(b.until)) {
		if b.due[key] && b.until[key].After(now) && len(ids) < maxExcept {
			ids = append(ids, key)
		}
	}
	return ids
}

// forget drops old entries. Failures outlive their backoff, because the next try comes
// after it.
func (b backoffs) forget(now time.Time) {
	for key := range b.due {
		kept := maxBackoff
		if b.failures[key] > 0 {
			kept = resolve.MaxRefused
		}
		if now.Sub(b.until[key]) > kept {
			delete(b.until, key)
			delete(b.due, key)
			delete(b.failures, key)
		}
	}
}
