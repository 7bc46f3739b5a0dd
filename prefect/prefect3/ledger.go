package prefect3

import (
	"fmt"
	"sync"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// forgetLease is how long after a claim its lease is remembered for Launched.
const forgetLease = time.Hour

// ledger counts this client's own claims against the limits of work pools and queues. The
// server respects those only in its offer (prefect3 §1.5), so they are exact only if
// whoever claims adds up what it has claimed since it last looked.
type ledger struct {
	mu     sync.Mutex
	seen   map[string]seenLimit // by pool or queue; those without a limit are missing
	own    map[string]ownClaim  // by run
	leases map[string]ownLease  // by run
}

// seenLimit is a limit as it was read at a time.
type seenLimit struct {
	what         string
	limit, taken int
	read         time.Time
}

// ownClaim is a claim of ours in limited places.
type ownClaim struct {
	in   []string
	done time.Time // zero while it is under way
}

type ownLease struct {
	id string
	at time.Time
}

func poolKey(p prefect.Place) string  { return prefect.Place{Pool: p.Pool}.Key() }
func queueKey(p prefect.Place) string { return "queue" + p.Key() }

// learn takes in the limits of pools and queues as they were read at a time.
func (l *ledger) learn(limits map[string]seenLimit, asked []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen, l.own, l.leases = map[string]seenLimit{}, map[string]ownClaim{}, map[string]ownLease{}
	}
	for _, key := range asked {
		if now, limited := limits[key]; limited {
			l.seen[key] = now
		} else {
			delete(l.seen, key)
		}
	}
	for id, claim := range l.own {
		if !claim.done.IsZero() && !l.isCounted(claim) {
			delete(l.own, id)
		}
	}
}

// isCounted reports whether a claim still counts beside what the server said.
func (l *ledger) isCounted(claim ownClaim) bool {
	for _, key := range claim.in {
		if seen, ok := l.seen[key]; ok && (claim.done.IsZero() || !claim.done.Before(seen.read)) {
			return true
		}
	}
	return false
}

// reserve counts a claim before it is sent. It returns what is full, or nothing.
func (l *ledger) reserve(run string, at prefect.Place) (full string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var in []string
	for _, key := range []string{poolKey(at), queueKey(at)} {
		seen, limited := l.seen[key]
		if !limited {
			continue
		}
		taken := seen.taken
		for id, claim := range l.own {
			for _, of := range claim.in {
				if of == key && id != run && (claim.done.IsZero() || !claim.done.Before(seen.read)) {
					taken++
				}
			}
		}
		if taken >= seen.limit {
			return fmt.Sprintf("%s limit %d reached", seen.what, seen.limit)
		}
		in = append(in, key)
	}
	if len(in) > 0 {
		l.own[run] = ownClaim{in: in}
	}
	return ""
}

// settle says what came of a claim.
func (l *ledger) settle(run string, isApplied bool, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	claim, counted := l.own[run]
	switch {
	case !counted:
	case isApplied:
		claim.done = now
		l.own[run] = claim
	default:
		delete(l.own, run)
	}
}

// hold remembers the lease of a won claim until Launched renews it.
func (l *ledger) hold(run, lease string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lease == "" {
		return
	}
	if l.leases == nil {
		l.leases = map[string]ownLease{}
	}
	for id, of := range l.leases {
		if now.Sub(of.at) > forgetLease {
			delete(l.leases, id)
		}
	}
	l.leases[run] = ownLease{lease, now}
}

// lease is the lease of a claim that was won here, if it has one.
func (l *ledger) lease(run string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leases[run].id
}
