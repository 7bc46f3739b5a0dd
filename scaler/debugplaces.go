package scaler

import (
	"strings"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// scopeReport is what the launchers of a trigger serve.
type scopeReport struct {
	Labels items[string] `json:"labels"`
	// WorkPools are nil for a connection without work pools, and empty for all of them.
	WorkPools  items[string] `json:"work_pools,omitzero"`
	WorkQueues items[string] `json:"work_queues,omitempty"`
}

func reportScope(t trigger) scopeReport {
	if t.Places == ByWorkPools {
		return scopeReport{WorkPools: append(items[string]{}, t.Scope.Pools...), WorkQueues: t.Scope.Queues}
	}
	return scopeReport{Labels: t.Scope.Labels}
}

// Serves is for the page.
func (r scopeReport) Serves() string {
	if r.WorkPools == nil {
		return ByLabels.served(prefect.Scope{Labels: r.Labels})
	}
	return ByWorkPools.served(prefect.Scope{Pools: r.WorkPools, Queues: r.WorkQueues})
}

// placeReport is where a run waits, or waited.
type placeReport struct {
	Labels    items[string] `json:"labels"`
	WorkPool  string        `json:"work_pool,omitempty"`
	WorkQueue string        `json:"work_queue,omitempty"`
}

func reportPlace(p prefect.Place) placeReport {
	return placeReport{p.Labels, p.Pool, p.Queue}
}

// Where is for the page, below PlaceKind.Heading. No name of a work pool has a slash.
func (r placeReport) Where() string {
	switch {
	case r.WorkPool != "":
		return r.WorkPool + " / " + r.WorkQueue
	case len(r.Labels) > 0:
		return strings.Join(r.Labels, ", ")
	}
	return "(none)"
}

// Heading is that of a column of places.
func (k PlaceKind) Heading() string {
	if k == ByWorkPools {
		return "work pool / queue"
	}
	return "labels"
}
