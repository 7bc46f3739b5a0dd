package scaler

import (
	"context"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// Operator tells the people who run launchers, beyond the log: their ScaledObjects show
// what they must know.
type Operator interface {
	// Warn records an Event on a ScaledObject. It makes no call and never waits.
	Warn(namespace, name, reason, message string)
	// Launcher says in words what holds up the pods of a ScaledObject's launcher.
	Launcher(ctx context.Context, namespace, name string) (string, error)
}

// The reasons of Events, which people filter by.
const (
	eventRefused   = "PrefectTriggerRefused"
	eventUntaken   = "PrefectLauncherMissing"
	eventFrozen    = "PrefectUnavailable"
	eventKey       = "PrefectKeyRefused"
	eventTruncated = "PrefectRunsUncounted"
	eventStuck     = "PrefectRunsStuck"
)

// maxTold bounds the ScaledObjects that get a message about their whole connection.
const maxTold = 50

// warn records a message on those ScaledObjects of a connection whose scope serves accepts.
func (s *service) warn(p *poller, reason, message string, serves func(prefect.Scope) bool) {
	told := 0
	for _, so := range s.registry.all() {
		if so.trigger.Connection == p.name && told < maxTold && serves(so.trigger.Scope) {
			told++
			s.operator.Warn(so.namespace, so.name, reason, message)
		}
	}
}

func anybody(prefect.Scope) bool { return true }

// nobody is told.
type nobody struct{}

func (nobody) Warn(string, string, string, string) {}

func (nobody) Launcher(context.Context, string, string) (string, error) { return "", nil }
