package check

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// The Prefect checks' names.
const (
	prefectAPI = "Prefect API"
	clock      = "clock"
	apiKey     = "API key"
	backend    = "backend"
	tenant     = "tenant"
	agent      = "agent config"
	dueRuns    = "due flow runs"
)

// Prefect1 is the part of the client that the checks use.
type Prefect1 interface {
	// Kind is the backend that the API says it is; empty if it does not say.
	Kind(ctx context.Context) (string, error)
	// Tenant is the tenant whose runs are read; it exists. If there are several, from names
	// those it was chosen from.
	Tenant(ctx context.Context) (id string, from []string, err error)
	// AgentConfig looks up the configured agent config; prefect.ErrNotFound if it does not
	// exist.
	AgentConfig(ctx context.Context) error
	// Observe returns the due runs.
	Observe(ctx context.Context, until time.Time) (prefect.Observation, error)
}

// Prefect1Options are a launcher's settings about Prefect.
type Prefect1Options struct {
	// Address is the API's URL.
	Address string
	// Transport reaches it; nil for HTTP's default.
	Transport http.RoundTripper
	Client    Prefect1
	// Backend is the configured one: server or cloud.
	Backend string
	// HasKey is set when requests carry a key.
	HasKey bool
	// AgentConfigID is rarely set; empty for none.
	AgentConfigID string
	Scope         prefect.Scope
	// Anywhere is set for the scaler, which counts for all launchers.
	Anywhere bool
	// Connection is the name of one of several; empty for the only one.
	Connection string
	Settings   Prefect1Settings
}

// Prefect1Settings are the names of the settings, for advice.
type Prefect1Settings struct{ API, Key, TenantID, Backend string }

// OfPrefect1 are the checks of a Prefect API, in order.
func OfPrefect1(o Prefect1Options) []Check {
	p := &prefect1Checks{Prefect1Options: o}
	checks := []Check{
		{prefectAPI, nil, p.reach},
		{clock, []string{prefectAPI}, p.clock},
		{apiKey, []string{prefectAPI}, p.key},
		{backend, []string{apiKey}, p.kind},
		{tenant, []string{apiKey, backend}, p.tenant},
	}
	if o.AgentConfigID != "" {
		checks = append(checks, Check{agent, []string{apiKey}, p.agentConfig})
	}
	checks = append(checks, Check{dueRuns, []string{tenant}, p.due})
	return ofConnection(o.Connection, checks)
}

// ofConnection puts the name of one of several connections in front of its checks.
func ofConnection(name string, checks []Check) []Check {
	if name == "" {
		return checks
	}
	for i := range checks {
		checks[i].Name = name + ": " + checks[i].Name
		for j := range checks[i].Needs {
			checks[i].Needs[j] = name + ": " + checks[i].Needs[j]
		}
	}
	return checks
}

// prefect1Checks keeps what later checks need from earlier ones.
type prefect1Checks struct {
	Prefect1Options

	clocks
	called  string // the backend that the API says it is
	kindErr error  // the error of asking for it
}

// reach only needs any answer from the API and its services; later checks look at what it
// says.
func (p *prefect1Checks) reach(ctx context.Context) (string, error) {
	if err := p.ask(ctx, p.Transport, p.Address, p.Settings.API); err != nil {
		return "", err
	}
	if p.called, p.kindErr = p.Client.Kind(ctx); prefect.Away(p.kindErr) != "" {
		return "", failed(p.kindErr, "%s", p.adviceOn(p.kindErr))
	}
	return p.Address + " answers", nil
}

func (p *prefect1Checks) key(context.Context) (string, error) {
	switch err := p.kindErr; {
	case errors.Is(err, prefect.ErrAuth) && !p.HasKey:
		return "", failed(err, "the API, or a proxy in front of it, needs a key: set %s, or for a proxy a user and password in %s (http://user:password@host) or PREFECT_KEDA_API_HEADERS", p.Settings.Key, p.Settings.API)
	case err != nil:
		return "", failed(err, "%s", p.adviceOn(err))
	case !p.HasKey:
		return "not set, and the API does not need one", nil
	}
	return "the API accepts it", nil
}

// adviceOn gives advice on errors that any request may have.
func (p *prefect1Checks) adviceOn(err error) string {
	if errors.Is(err, prefect.ErrAuth) {
		return fmt.Sprintf("set %s to a key that has not been revoked, and %s to one of its tenants, or leave the tenant empty", p.Settings.Key, p.Settings.TenantID)
	}
	if part := prefect.Away(err); part != "" {
		return part + " is away: find out why its pod or container does not run or answer. Key and tenant are not the cause, and nothing needs a restart when it is back"
	}
	return fmt.Sprintf("check that %s is the GraphQL API (port 4200 of a Prefect Server, not the UI's 8080) and that its services are up", p.Settings.API)
}

func (p *prefect1Checks) kind(context.Context) (string, error) {
	switch p.called {
	case "":
		return "", skipped("the API does not say whether it is server or cloud")
	case p.Backend:
		return "Prefect " + p.Backend + ", as set", nil
	}
	return "", failed(fmt.Errorf("the API says that it is %s, but the setting is %s", p.called, p.Backend), "set %s to %s, or %s to the API you mean", p.Settings.Backend, p.called, p.Settings.API)
}

func (p *prefect1Checks) tenant(ctx context.Context) (string, error) {
	id, from, err := p.Client.Tenant(ctx)
	switch {
	case err == nil && len(from) > 0:
		return fmt.Sprintf("%s, the oldest of %s; set %s to choose another", id, strings.Join(from, ", "), p.Settings.TenantID), nil
	case errors.Is(err, prefect.ErrAuth), prefect.Temporary(err):
		return "", failed(err, "%s", p.adviceOn(err))
	case err != nil:
		return "", failed(err, "set %s to a tenant of this API, or leave it empty for the key's own or the Server's oldest; a Prefect Server has no tenant before `prefect server create-tenant`", p.Settings.TenantID)
	}
	return id, nil
}

func (p *prefect1Checks) agentConfig(ctx context.Context) (string, error) {
	err := p.Client.AgentConfig(ctx)
	if errors.Is(err, prefect.ErrNotFound) {
		return "", failed(err, "set PREFECT_KEDA_AGENT_CONFIG_ID (--agent-config-id) to an agent config of this API, or leave it empty: nothing uses its settings")
	}
	if err != nil {
		return "", failed(err, "%s", p.adviceOn(err))
	}
	return p.AgentConfigID, nil
}

// due also counts the runs for others: labels that do not match are the usual reason why
// nothing starts.
func (p *prefect1Checks) due(ctx context.Context) (string, error) {
	o, err := p.Client.Observe(ctx, time.Now())
	if err != nil {
		return "", failed(err, "%s", p.adviceOn(err))
	}
	atLeast := ""
	if o.Truncated {
		atLeast = "at least "
	}
	if p.Anywhere {
		return fmt.Sprintf("%s%d, with any labels", atLeast, len(o.Due)), nil
	}
	ours := 0
	for _, r := range o.Due {
		if p.Scope.Takes(r.Place) {
			ours++
		}
	}
	labels := "launchers without labels"
	if len(p.Scope.Labels) > 0 {
		labels = "the labels " + strings.Join(p.Scope.Labels, ", ")
	}
	return fmt.Sprintf("%s%d for %s, %d for others", atLeast, ours, labels, len(o.Due)-ours), nil
}
