package launcher

import (
	"time"

	"github.com/prefect-keda/prefect-keda/claims"
)

const (
	// easy: an answer this quick never counts as slow.
	easy = claims.MaxAge / 3
	// hard: an answer this slow always counts as slow. If reading a run takes much longer,
	// the run cannot be claimed in time.
	hard = claims.SendWithin / 2
	// leastPace: after a claim, a pause of seven times as long. slowPace: a pause as long,
	// for a server that was never quicker; it may be far away and not overloaded.
	leastPace = 1. / 8
	slowPace  = 1. / 2
	// otherShare times the duration of another question pass before the next of its kind,
	// at a pace of one, but at most longestPause.
	otherShare   = 4
	longestPause = 30 * time.Second
)

// pace limits how many claims are under way at once. An overloaded server answers later
// and later, until launchers give up claims that it still applies; asked for less, it does
// just as much. So the limit follows the answers as in TCP: it grows by one while they are
// quick and halves when they are slow, and launchers that do not know of each other share
// the server. Below one, a pause follows each claim.
type pace struct {
	most  float64
	limit float64
	// least is the shortest time an answer has taken.
	least time.Duration
	// slowed is when the limit was last lowered. Before the first time it doubles with every
	// round of answers.
	slowed time.Time
	// from is when the pause after the last answer ends.
	from time.Time
}

func newPace(most int) pace { return pace{most: float64(most), limit: 1} }

// allows reports whether one more claim may be under way beside so many.
func (p *pace) allows(claims int, now time.Time) bool {
	return claims < max(1, int(p.limit)) && !now.Before(p.from)
}

// apply takes how long a claim took, and whether it was answered.
func (p *pace) apply(sent, now time.Time, answered bool) {
	took := now.Sub(sent)
	if answered && (p.least == 0 || took < p.least) {
		p.least = took
	}
	switch {
	case p.isLong(took):
		// A claim sent before the last slowing down says nothing of its effect.
		if sent.After(p.slowed) {
			floor := leastPace
			if took <= 2*p.least {
				floor = min(slowPace, p.limit)
			}
			p.limit, p.slowed = max(floor, p.limit/2), now
		}
	case !answered: // refused at once; that has other reasons
	case p.slowed.IsZero():
		p.limit = min(p.limit+1, p.most)
	case p.limit < 1:
		p.limit += 0.1
	default:
		p.limit = min(p.limit+1/p.limit, p.most)
	}
	p.from = time.Time{}
	if p.limit < 1 {
		p.from = now.Add(time.Duration(float64(took) * (1/p.limit - 1)))
	}
}

// poll takes how long a poll took. At a pace below one there are few claims to tell that
// the server is well again.
func (p *pace) poll(took time.Duration) {
	if p.limit < 1 && !p.isLong(took) {
		p.limit = min(p.limit+0.1, 1)
	}
}

// isLong reports whether an answer was slow.
func (p *pace) isLong(took time.Duration) bool { return took > max(easy, min(2*p.least, hard)) }

// stretch is the pause after another question that took so long. Every launcher polls and
// sends heartbeats, however few claims it makes.
func (p *pace) stretch(took time.Duration) time.Duration {
	return min(time.Duration(float64(took)*otherShare/p.limit), longestPause)
}
