package scaler

import (
	"errors"
	"slices"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// PlaceKind is the kind of places at which the runs of a connection wait.
type PlaceKind int

const (
	// ByLabels means that runs have labels (Prefect 1.x).
	ByLabels PlaceKind = iota
	// ByWorkPools means that runs wait in queues of work pools (Prefect 3).
	ByWorkPools
)

// accepts returns an error, for the operator, if a trigger names places of another kind.
func (k PlaceKind) accepts(t trigger) error {
	switch {
	case !slices.ContainsFunc(t.Named, func(named PlaceKind) bool { return named != k }):
		return nil
	case k == ByWorkPools:
		return errors.New("its runs wait in work pools and have no labels: give workPools in place of labels, or the connection to another Prefect")
	default:
		return errors.New("its runs have labels and no work pools: give labels in place of workPools and workQueues, or the connection to another Prefect")
	}
}

// none says that no run waits for a trigger.
func (k PlaceKind) none() string {
	if k == ByWorkPools {
		return "no run of these work pools and queues is due"
	}
	return "no run with these labels is due"
}

// theirs says that runs that nobody knows of may be a trigger's.
func (k PlaceKind) theirs() string {
	if k == ByWorkPools {
		return "some of them may be of these work pools and queues"
	}
	return "some of them may have these labels"
}

// attribute is a scope as the log has it.
func (k PlaceKind) attribute(s prefect.Scope) (key string, value any) {
	if k == ByWorkPools {
		return "scope", k.served(s)
	}
	return "labels", s.Labels
}

// served is a scope for people.
func (k PlaceKind) served(s prefect.Scope) string {
	switch {
	case k == ByLabels && len(s.Labels) > 0:
		return "labels " + s.String()
	case k == ByWorkPools && len(s.Pools)+len(s.Queues) == 0:
		return "all work pools" // an empty scope looks like one without labels
	}
	return s.String()
}

// heading is that of a column of places.
func (k PlaceKind) heading() string {
	if k == ByWorkPools {
		return "work pool / queue"
	}
	return "labels"
}
