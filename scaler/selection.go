package scaler

import (
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// counts tells from when on a claim counts, if it does. before is what it told last; zero if
// the claim did not count.
type counts func(c prefect.ClaimedRun, before time.Time) (from time.Time, does bool)

// selection is the claims that count for one reason, in the order of the poll. While it
// changes not at all, its list is the same one.
type selection struct {
	from map[claimKey]time.Time
	list []claim
}

// renew asks about all claims.
func (s *selection) renew(p *poller, do counts) []claim {
	before := s.from
	s.from = map[claimKey]time.Time{}
	for _, c := range p.claimed {
		k := claimKey{c.ID, c.Claim.Attempt}
		if from, does := do(c, before[k]); does {
			s.from[k] = from
		}
	}
	return s.relist(p)
}

// update asks about the claims of some runs.
func (s *selection) update(p *poller, runs []string, do counts) []claim {
	changed := false
	for _, run := range runs {
		for _, i := range p.claimsOf[run] {
			c := p.claimed[i]
			k := claimKey{c.ID, c.Claim.Attempt}
			before, did := s.from[k]
			from, does := do(c, before)
			if does {
				s.from[k] = from
			} else {
				delete(s.from, k)
			}
			changed = changed || does != did || does && !from.Equal(before)
		}
	}
	if !changed {
		return s.list
	}
	return s.relist(p)
}

func (s *selection) relist(p *poller) []claim {
	s.list = make([]claim, 0, len(s.from)) // snapshots have the former one
	if len(s.from) == 0 {
		return s.list
	}
	for _, c := range p.claimed {
		if from, does := s.from[claimKey{c.ID, c.Claim.Attempt}]; does {
			s.list = append(s.list, claim{c, from})
		}
	}
	return s.list
}
