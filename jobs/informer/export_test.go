package informer

import (
	"maps"
	"slices"
)

// Names are those of all Jobs, in order.
func (i *Informer) Names() []string {
	i.jobs.mu.RLock()
	defer i.jobs.mu.RUnlock()
	return slices.Sorted(maps.Keys(i.jobs.byName))
}
