package scaler

import (
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// beatAfter is how old the last sign of life of a run may grow whose Job waits
	// for its pod. Launchers that are up send one every 3 minutes, so none is up;
	// after 10 minutes Prefect reschedules the run, and fails it the fourth time
	// (prefect1-server-facts f). That leaves 3 minutes for a launcher to start in.
	beatAfter = 7 * time.Minute
	// beatFor bounds how long a run is demand for want of a heartbeat. An API that
	// takes none is not to keep launchers up.
	beatFor = 10 * time.Minute
)

// waiting is a claim whose Job waits for its pod.
type waiting struct {
	ID     string
	Labels []string
	Claim  prefect.Claim
	// CountsFrom is when somebody has to send a heartbeat.
	CountsFrom time.Time
}

// signs knows how old the signs of life of claimed runs are by our own clock.
type signs map[claimKey]sign

type sign struct {
	// last is as Prefect has it, by its clock.
	last time.Time
	// by is when that was, by ours, or somewhat earlier.
	by time.Time
	// wanted is when we first saw it too old; zero when it is not.
	wanted time.Time
}

// follow is what is known after one more look at the claims. A sign that changed
// since the look before is no older than that one, whatever the clocks say: were
// it judged by a clock that is behind, no heartbeat would ever be recent enough.
func (s signs) follow(claims []prefect.ClaimedRun, before, now time.Time) signs {
	next := signs{}
	for _, c := range claims {
		k := claimKey{c.ID, c.Claim.Attempt}
		last := c.LastSign()
		is, known := s[k]
		switch {
		case !known:
			is = sign{last: last, by: earliest(last, now)}
		case !is.last.Equal(last):
			is = sign{last: last, by: before}
		}
		if is.wanted.IsZero() && now.Sub(is.by) >= beatAfter {
			is.wanted = now
		}
		next[k] = is
	}
	return next
}

// waiting are the claims that have a Job which has not ended. The pod that ends
// the wait sends its own heartbeats, and the run is claimed no longer.
func (p *poller) waiting(now time.Time) []waiting {
	if p.watch == nil {
		return nil
	}
	var all []waiting
	for _, c := range p.claimed {
		is := p.signs[claimKey{c.ID, c.Claim.Attempt}]
		if (is.wanted.IsZero() || now.Sub(is.wanted) < beatFor) && p.watch.jobWaits(c) {
			all = append(all, waiting{ID: c.ID, Labels: c.Labels, Claim: c.Claim, CountsFrom: is.by.Add(beatAfter)})
		}
	}
	return all
}
