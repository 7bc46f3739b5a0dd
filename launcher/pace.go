package launcher

import "time"

const (
	// easy is an answer that is no sign of a server asked for too much: a run read when
	// the claim was sent is not much older by the time it is claimed.
	easy = fresh / 3
	// hard is an answer that is, however slow the server has always been: if reading a
	// run takes much longer, it cannot be claimed in time any more.
	hard = claimWithin / 2
	// leastPace is one claim and then a pause of seven times what it took; slowPace, and
	// a pause as long as it took, is all that is needed where the server has never been
	// quicker: it may be far away, and not asked for too much.
	leastPace = 1. / 8
	slowPace  = 1. / 2
	// otherShare times what another question took pass before the next of its kind, at a
	// pace of one; but not more than longestPause.
	otherShare   = 4
	longestPause = 30 * time.Second
)

// pace is how many claims may be under way at once. A server that does several
// things at a time answers many claims as soon as one. One that does not answers them
// later and later, until they are given up though it goes on and applies them; asked
// for less, it does just as much. So the number follows the answers, as it does with
// TCP: more by one while they come soon, fewer by a part when they take too long. In
// this way launchers that do not know of each other share what there is. Below one, a
// claim is followed by a pause.
type pace struct {
	most  float64
	limit float64
	// least is the shortest time an answer has taken.
	least time.Duration
	// slowed is when the limit was last lowered, if it ever was: until then it doubles
	// with every round of answers.
	slowed time.Time
	// from is when the pause after the last answer ends.
	from time.Time
}

func newPace(most int) pace { return pace{most: float64(most), limit: 1} }

// allows reports whether one more claim may be under way beside so many.
func (p *pace) allows(claims int, now time.Time) bool {
	return claims < max(1, int(p.limit)) && !now.Before(p.from)
}

// learn takes in the time that a claim took, and whether it was answered at all.
func (p *pace) learn(sent, now time.Time, answered bool) {
	took := now.Sub(sent)
	if answered && (p.least == 0 || took < p.least) {
		p.least = took
	}
	switch {
	case p.isLong(took):
		// What was sent before the last slowing down says nothing of what came of it.
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

// glance takes in a look that took so long. At a pace below one there are few claims,
// or none, to tell that the server is well again.
func (p *pace) glance(took time.Duration) {
	if p.limit < 1 && !p.isLong(took) {
		p.limit = min(p.limit+0.1, 1)
	}
}

// isLong: an answer that took so long is a sign of a server asked for too much.
func (p *pace) isLong(took time.Duration) bool { return took > max(easy, min(2*p.least, hard)) }

// stretch is how long after a question that took so long the next of its kind may be
// asked. Every launcher asks what is due and sends heartbeats, however few claims it
// makes.
func (p *pace) stretch(took time.Duration) time.Duration {
	return min(time.Duration(float64(took)*otherShare/p.limit), longestPause)
}
