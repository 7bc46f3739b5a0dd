package scaler

import (
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// overdue is how late the heartbeat of a run whose Job waits for its pod may be before
	// we wake a launcher. Launchers that are up send heartbeats in time, so none is up.
	// Prefect waits 3 minutes more (prefect.FlowRun), enough for a launcher to start.
	overdue = 4 * time.Minute
	// beatFor bounds how long a missing heartbeat counts as demand, so that an API that
	// accepts no heartbeats does not keep launchers up.
	beatFor = 10 * time.Minute
)

// signs knows by when claimed runs need a heartbeat, by our own clock.
type signs map[claimKey]sign

type sign struct {
	// keepBy is the time by Prefect's clock.
	keepBy time.Time
	// by is that time, or somewhat earlier, by our clock.
	by time.Time
	// wanted is when we first saw it overdue; zero if it is not.
	wanted time.Time
}

// follow applies one more poll of the claims. A heartbeat that is new since the previous
// poll cannot be older than that poll, whatever the clocks say. Judged by a clock that is
// behind, no heartbeat would ever be recent enough.
func (s signs) follow(claims []prefect.ClaimedRun, before, now time.Time) signs {
	next := signs{}
	for _, c := range claims {
		k := claimKey{c.ID, c.Claim.Attempt}
		is, known := s[k]
		switch {
		case c.KeepBy.IsZero():
			continue
		case !known:
			is = sign{keepBy: c.KeepBy, by: earliest(c.KeepBy, now.Add(c.KeepFor))}
		case !is.keepBy.Equal(c.KeepBy):
			is = sign{keepBy: c.KeepBy, by: before.Add(c.KeepFor)}
		}
		if is.wanted.IsZero() && now.Sub(is.by) >= overdue {
			is.wanted = now
		}
		next[k] = is
	}
	return next
}

// waiting are the claims that have a Job which has not ended. The pod that ends
// the wait sends its own heartbeats, and the run is claimed no longer.
func (p *poller) waiting(now time.Time) []claim { return p.waits.renew(p, p.waitsFrom(now)) }

// waitsFrom tells from when on a claim counts because its Job waits.
func (p *poller) waitsFrom(now time.Time) counts {
	return func(c prefect.ClaimedRun, _ time.Time) (from time.Time, does bool) {
		is, needed := p.signs[claimKey{c.ID, c.Claim.Attempt}]
		if !needed || !is.wanted.IsZero() && now.Sub(is.wanted) >= beatFor || !p.watch.jobWaits(c) {
			return time.Time{}, false
		}
		return is.by.Add(overdue), true
	}
}
