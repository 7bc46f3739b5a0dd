package scaler

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

const (
	// maxRefusals bounds what is kept of calls that were refused, which strangers
	// can make as many of as they like.
	maxRefusals = 50
	// maxRefusal bounds the text of one.
	maxRefusal = 500
	// sayAgain is how long something that goes on is not said again.
	sayAgain = 15 * time.Minute
)

// refusal is why a ScaledObject is not answered.
type refusal struct{ namespace, name, err string }

// refusals are the latest ones, for people to look at, and so that each is logged
// once. When there are too many, the first ones stay: new ones are no news then.
type refusals struct {
	mu     sync.Mutex
	latest map[refusal]time.Time
}

// note tells whether r is news, and whether there was no room for it.
func (r *refusals) note(namespace, name string, err error, now time.Time) (news, full bool) {
	k := refusal{cut(namespace, maxName), cut(name, maxName), cut(err.Error(), maxRefusal)}
	r.mu.Lock()
	defer r.mu.Unlock()
	for other, at := range r.latest {
		if now.Sub(at) >= sayAgain {
			delete(r.latest, other)
		}
	}
	_, known := r.latest[k]
	if !known && len(r.latest) >= maxRefusals {
		return false, true
	}
	if r.latest == nil {
		r.latest = map[refusal]time.Time{}
	}
	r.latest[k] = now
	return !known, false
}

// list is what was refused lately, in order.
func (r *refusals) list(now time.Time) []refusalReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := []refusalReport{}
	for k, at := range r.latest {
		if now.Sub(at) < sayAgain {
			all = append(all, refusalReport{k.namespace, k.name, k.err, at})
		}
	}
	slices.SortFunc(all, func(a, b refusalReport) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Err, b.Err))
	})
	return all
}

// seldom is something that may happen all the time and is said now and then.
type seldom struct {
	mu   sync.Mutex
	said time.Time
}

// due tells whether to say it now.
func (s *seldom) due(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.said.IsZero() && now.Sub(s.said) < sayAgain {
		return false
	}
	s.said = now
	return true
}
