package main

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prefect-keda/prefect-keda/check"
	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/explain/collect"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/launcher"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/scaler"
)

// backend is one kind of Prefect. Everything that depends on the kind is behind this
// interface.
type backend interface {
	launcher.Backend
	scaler.Source
	collect.Prefect
	// renderer makes Jobs of the backend's runs with a launcher's settings. Unless it may ask
	// Prefect, it leaves out values that only Prefect knows.
	renderer(s config.Launcher, mayAsk bool) renderer
	// keeping is such a renderer that remembers what it asked for.
	keeping(s config.Launcher, mayAsk bool) keeper
	// marks are the labels by which Jobs of the backend's runs are known.
	marks() job.Marks
	// runURL is the address of a run in Prefect's UI, whose own address may be empty; nil if
	// it is not known.
	runURL(ui string) func(id string) string
	// replaces is what would always be up without us.
	replaces() scaler.Process
	// checks test whether Prefect would answer.
	checks(asked) []check.Check
	// poolJobs are the Jobs of invented runs, one in each work pool that a launcher serves.
	poolJobs(ctx context.Context, s config.Launcher) ([]check.PoolJob, error)
	// hint logs what is wrong with the settings for a scope, but keeps nobody from starting.
	hint(ctx context.Context, log *slog.Logger, scope prefect.Scope)
}

// keeper is a renderer that remembers what it asked Prefect for.
type keeper interface {
	renderer
	// bundle is all that the last run's Job was made of, to render it again without Prefect.
	bundle() ([]byte, error)
	// secrets are texts that nobody should see.
	secrets() []string
}

// renderer makes the Jobs of a launcher and of its checks.
type renderer interface {
	launcher.Renderer
	// CheckTemplate reads the template of runs that bring none. An error is a
	// *job.TemplateError.
	CheckTemplate(ctx context.Context) error
}

// asked says what to check about a Prefect, and the names of its settings.
type asked struct {
	scope prefect.Scope
	// withoutEvents is set if nobody listens to Prefect's events.
	withoutEvents bool
	// anywhere is set for the scaler, which counts for all launchers.
	anywhere bool
	// connection is the name of one of several; empty for the only one.
	connection string
	// variable has one of the connection's settings.
	variable func(string) string
}

// newBackend is the only place that picks a backend. It makes no request.
func newBackend(p config.Prefect, agent config.Agent, process string, log *slog.Logger, registry prometheus.Registerer) (backend, error) {
	if p.Kind == config.Prefect3 {
		return newPrefect3(apiOptions3(p, process, log, registry, agent), p)
	}
	return newPrefect1(apiOptions(p, process, log, registry, agent), p)
}

// backendOf is a backend that knows a single run, read from a file in the API's form.
func backendOf(file []byte, p config.Prefect, log *slog.Logger) (b backend, run string, err error) {
	if p.Kind == config.Prefect3 {
		return prefect3Of(file, apiOptions3(p, "render", log, nil, config.Agent{}), p)
	}
	return prefect1Of(file, apiOptions(p, "render", log, nil, config.Agent{}), p)
}

// scopeOf is what a launcher serves.
func scopeOf(s config.Launcher) prefect.Scope {
	if s.Kind == config.Prefect3 {
		return prefect.Scope{Pools: s.Pools, Queues: s.Queues}
	}
	return prefect.Scope{Labels: s.Labels}
}
