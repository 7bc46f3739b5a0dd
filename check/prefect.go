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

// maxSkew is half of how far ahead launchers look for due runs.
const maxSkew = 5 * time.Second

// Prefect is the API as a launcher asks it.
type Prefect interface {
	// Kind is what the API calls itself; empty when it does not say.
	Kind(ctx context.Context) (string, error)
	// Tenant is the one that runs are asked of, which is known to exist, and the names
	// of those it was chosen from, if there are several.
	Tenant(ctx context.Context) (id string, from []string, err error)
	// AgentConfig finds the one that is set; prefect.ErrNotFound when it is not there.
	AgentConfig(ctx context.Context) error
	// Observe counts what is due.
	Observe(ctx context.Context, until time.Time) (prefect.Observation, error)
}

// PrefectOptions are what a launcher is told of Prefect.
type PrefectOptions struct {
	// Address is the API's URL.
	Address string
	// Transport reaches it; nil for HTTP's default.
	Transport http.RoundTripper
	Client    Prefect
	// Backend is what it is said to be: server or cloud.
	Backend string
	// HasKey is set when requests carry a key.
	HasKey bool
	// AgentConfigID is nearly nobody's; empty for none.
	AgentConfigID string
	Labels        []string
	// AllLabels is set for the scaler, which counts for all launchers there are.
	AllLabels bool
	// Connection is the name of one of several; empty for the only one.
	Connection string
	Settings   PrefectSettings
}

// PrefectSettings are the names under which whoever reads the advice knows the
// settings.
type PrefectSettings struct{ API, Key, TenantID, Backend string }

// OfPrefect are the checks of a Prefect API, in order.
func OfPrefect(o PrefectOptions) []Check {
	p := &prefectChecks{PrefectOptions: o}
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
	if o.Connection != "" {
		for i := range checks {
			checks[i].Name = o.Connection + ": " + checks[i].Name
			for j := range checks[i].Needs {
				checks[i].Needs[j] = o.Connection + ": " + checks[i].Needs[j]
			}
		}
	}
	return checks
}

// prefectChecks holds what one check learns for another.
type prefectChecks struct {
	PrefectOptions

	skew     time.Duration // how far our clock is ahead, at least
	hasClock bool
	called   string // what the API calls itself
}

// reach wants an answer, whichever: what it should say is asked by the others.
func (p *prefectChecks) reach(ctx context.Context) (string, error) {
	ctx, at := traced(ctx)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Address, nil)
	if err != nil {
		return "", failed(err, "correct %s", p.Settings.API)
	}
	asked := time.Now()
	client := http.Client{Transport: p.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return "", unreached(err, at(), p.Address, p.Settings.API)
	}
	response.Body.Close()
	p.compareClocks(asked, time.Now(), response.Header.Get("Date"))
	return p.Address + " answers", nil
}

// compareClocks: the answer was written between asked and answered, and its date
// is cut to the second.
func (p *prefectChecks) compareClocks(asked, answered time.Time, date string) {
	at, err := http.ParseTime(date)
	if err != nil {
		return
	}
	p.hasClock = true
	if ahead := asked.Sub(at.Add(time.Second)); ahead > 0 {
		p.skew = ahead
	} else if behind := at.Sub(answered); behind > 0 {
		p.skew = -behind
	}
}

func (p *prefectChecks) clock(context.Context) (string, error) {
	switch {
	case !p.hasClock:
		return "", skipped("the API's answers carry no date")
	case p.skew > maxSkew:
		return "", failed(fmt.Errorf("ours is %s ahead of the API's", p.skew.Round(time.Second)), "set the clocks of both by NTP: launchers compare due times with their own, and start runs so much early")
	case p.skew < -maxSkew:
		return "", failed(fmt.Errorf("ours is %s behind the API's", -p.skew.Round(time.Second)), "set the clocks of both by NTP: launchers compare due times with their own, and start runs so much late")
	}
	return fmt.Sprintf("at most %s from the API's", maxSkew), nil
}

func (p *prefectChecks) key(ctx context.Context) (string, error) {
	var err error
	p.called, err = p.Client.Kind(ctx)
	switch {
	case errors.Is(err, prefect.ErrAuth) && !p.HasKey:
		return "", failed(err, "the API or a proxy before it wants a key: set %s", p.Settings.Key)
	case err != nil:
		return "", failed(err, "%s", p.adviceOn(err))
	case !p.HasKey:
		return "there is none, and the API asks for none", nil
	}
	return "the API takes it", nil
}

// adviceOn is for the errors that any request may have.
func (p *prefectChecks) adviceOn(err error) string {
	if errors.Is(err, prefect.ErrAuth) {
		return fmt.Sprintf("set %s to a key that has not been revoked, and %s to one of its tenants or to nothing", p.Settings.Key, p.Settings.TenantID)
	}
	return fmt.Sprintf("see that %s is the GraphQL API (of a Prefect Server port 4200, not the UI's 8080) and that its own services are up", p.Settings.API)
}

func (p *prefectChecks) kind(context.Context) (string, error) {
	switch p.called {
	case "":
		return "", skipped("the API does not say which it is")
	case p.Backend:
		return "Prefect " + p.Backend + ", as set", nil
	}
	return "", failed(fmt.Errorf("the API says that it is %s, and %s is set", p.called, p.Backend), "set %s to %s, or %s to the API that is meant", p.Settings.Backend, p.called, p.Settings.API)
}

func (p *prefectChecks) tenant(ctx context.Context) (string, error) {
	id, from, err := p.Client.Tenant(ctx)
	switch {
	case err == nil && len(from) > 0:
		return fmt.Sprintf("%s, the oldest of %s; set %s to choose another", id, strings.Join(from, ", "), p.Settings.TenantID), nil
	case errors.Is(err, prefect.ErrAuth):
		return "", failed(err, "%s", p.adviceOn(err))
	case err != nil:
		return "", failed(err, "set %s to a tenant of this API, or to nothing for the key's own or the Server's oldest; a Prefect Server has none before `prefect server create-tenant`", p.Settings.TenantID)
	}
	return id, nil
}

func (p *prefectChecks) agentConfig(ctx context.Context) (string, error) {
	err := p.Client.AgentConfig(ctx)
	if errors.Is(err, prefect.ErrNotFound) {
		return "", failed(err, "set PREFECT_KEDA_AGENT_CONFIG_ID (--agent-config-id) to an agent config of this API, or to nothing: its settings are not used")
	}
	if err != nil {
		return "", failed(err, "%s", p.adviceOn(err))
	}
	return p.AgentConfigID, nil
}

// due tells of the runs for others too: labels that do not match are the usual
// reason why nothing starts.
func (p *prefectChecks) due(ctx context.Context) (string, error) {
	o, err := p.Client.Observe(ctx, time.Now())
	if err != nil {
		return "", failed(err, "%s", p.adviceOn(err))
	}
	atLeast := ""
	if o.Truncated {
		atLeast = "at least "
	}
	if p.AllLabels {
		return fmt.Sprintf("%s%d, whatever their labels", atLeast, len(o.Due)), nil
	}
	ours := 0
	for _, r := range o.Due {
		if prefect.LabelsMatch(p.Labels, r.Labels) {
			ours++
		}
	}
	labels := "launchers without labels"
	if len(p.Labels) > 0 {
		labels = "the labels " + strings.Join(p.Labels, ", ")
	}
	return fmt.Sprintf("%s%d for %s, %d for others", atLeast, ours, labels, len(o.Due)-ours), nil
}
