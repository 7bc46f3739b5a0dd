package scaler

import (
	"slices"
	"time"
)

// unserved are the groups with due runs that none of the ScaledObjects serves, which are all
// that asked lately: the most frequent reason why a run does not start.
func (p *poller) unserved(s *snapshot, objects []*scaledObject, now time.Time) []group {
	return slices.DeleteFunc(slices.Clone(s.Groups), func(g group) bool {
		return after(g.Due, now) == 0 || slices.ContainsFunc(objects, func(so *scaledObject) bool {
			return so.trigger.Connection == p.name && so.trigger.Scope.Takes(g.Place)
		})
	})
}
