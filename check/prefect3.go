package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// The names of the checks that only Prefect 3 has.
const (
	version     = "version"
	credentials = "key or auth string"
	workPools   = "work pools"
	eventStream = "event stream"
)

// served is the type of the work pools that launchers serve.
const served = "kubernetes"

// Pool is a work pool, as far as the checks look at it.
type Pool struct {
	Name, Type string
	Paused     bool
	Limit      *int
}

// Prefect3 is the part of the client that the checks use.
type Prefect3 interface {
	// ServerVersion is empty for Cloud, which does not say.
	ServerVersion(ctx context.Context) (string, error)
	// Observe returns the runs that are due, and those that Prefect holds back.
	Observe(ctx context.Context, until time.Time) (prefect.Observation, error)
	// TryEvents opens the stream of events once.
	TryEvents(ctx context.Context) error
}

// Prefect3Options are the settings about a Prefect 3.
type Prefect3Options struct {
	// Address is the API's URL.
	Address string
	// Transport reaches it; nil for HTTP's default.
	Transport http.RoundTripper
	Client    Prefect3
	// Pools reads the work pools with these names, whatever their type; without names, all
	// of the type that launchers serve.
	Pools func(ctx context.Context, names ...string) ([]Pool, error)
	// Secret says which secret is sent: API key, auth string, or neither.
	Secret string
	Scope  prefect.Scope
	// Anywhere is set for the scaler, which counts for all launchers.
	Anywhere bool
	// NoEvents is set if nobody listens to the stream of events.
	NoEvents bool
	// Connection is the name of one of several; empty for the only one.
	Connection string
	Settings   Prefect3Settings
}

// Prefect3Settings are the names of the settings, for advice.
type Prefect3Settings struct{ API, Key, AuthString, Pools, CSRF, Events string }

// OfPrefect3 are the checks of a Prefect 3 API, in order.
func OfPrefect3(o Prefect3Options) []Check {
	p := &prefect3Checks{Prefect3Options: o}
	return ofConnection(o.Connection, []Check{
		{prefectAPI, nil, p.reach},
		{clock, []string{prefectAPI}, p.clock},
		{credentials, []string{prefectAPI}, p.credentials},
		{version, []string{credentials}, p.version},
		{workPools, []string{credentials}, p.workPools},
		{dueRuns, []string{credentials}, p.due},
		{eventStream, []string{credentials}, p.events},
	})
}

// prefect3Checks keeps what later checks need from earlier ones.
type prefect3Checks struct {
	Prefect3Options
	clocks
	pools []Pool
}

// reach asks a path that needs no key.
func (p *prefect3Checks) reach(ctx context.Context) (string, error) {
	if err := p.ask(ctx, p.Transport, p.Address+"/health", p.Settings.API); err != nil {
		return "", err
	}
	return p.Address + " answers", nil
}

// credentials asks for the work pools, by the kind of request that also needs a CSRF token
// where the server wants one.
func (p *prefect3Checks) credentials(ctx context.Context) (found string, err error) {
	p.pools, err = p.Pools(ctx, p.Scope.Pools...)
	switch {
	case errors.Is(err, prefect.ErrAuth) && p.Secret == "":
		return "", failed(err, "the API wants to know who asks: set %s for a server of your own, or %s for Prefect Cloud", p.Settings.AuthString, p.Settings.Key)
	case err != nil:
		return "", failed(err, "%s", p.adviceOn(err))
	case p.Secret == "":
		return "neither is set, and the API needs none", nil
	}
	return "the API accepts the " + p.Secret, nil
}

// adviceOn gives advice on errors that any request may have.
func (p *prefect3Checks) adviceOn(err error) string {
	switch {
	case strings.Contains(err.Error(), "CSRF"):
		return fmt.Sprintf("the server wants a CSRF token: set %s to true", p.Settings.CSRF)
	case errors.Is(err, prefect.ErrAuth) && p.Secret == "auth string":
		return fmt.Sprintf("set %s to the server's own (PREFECT_SERVER_API_AUTH_STRING there), user and password with a colon between", p.Settings.AuthString)
	case errors.Is(err, prefect.ErrAuth):
		return fmt.Sprintf("set %s to a key that is valid for the workspace in %s", p.Settings.Key, p.Settings.API)
	case prefect.Temporary(err):
		return "the server or its database is away or busy: look at its log. Nothing needs a restart when it is back"
	}
	return fmt.Sprintf("check that %s is the URL of the API, which ends with /api on a server of your own, and that it is Prefect 2.20 or newer", p.Settings.API)
}

// lacks says what older servers do not have (prefect3 §7.3).
func lacks(version string) (missing []string) {
	for _, feature := range []struct{ since, what string }{
		{"3.0.0", "concurrency limits of deployments"},
		{"3.1.6", "labels of runs, which show the launcher in the UI"},
		{"3.4.11", "slots of a deployment's limit that last until a slow pod has started (3.4.11)"},
		{"3.6.22", "the state InfrastructurePending for runs whose pod does not start yet (3.6.22)"},
	} {
		if older(version, feature.since) {
			missing = append(missing, feature.what)
		}
	}
	return missing
}

// older compares the numbers of two versions. What follows them, as in 3.4.0rc1, does not
// count.
func older(a, b string) bool {
	return slices.Compare(numbers(a), numbers(b)) < 0
}

func numbers(version string) []int {
	all := make([]int, 3)
	for i, part := range strings.SplitN(version, ".", 3) {
		if end := strings.IndexFunc(part, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
			part = part[:end]
		}
		all[i], _ = strconv.Atoi(part) // 0 for what is no number
	}
	return all
}

func (p *prefect3Checks) version(ctx context.Context) (string, error) {
	text, err := p.Client.ServerVersion(ctx)
	switch {
	case err != nil:
		return "", failed(err, "%s", p.adviceOn(err))
	case text == "":
		return "", skipped("the API does not say")
	case older(text, "2.20"):
		return "", failed(fmt.Errorf("the server is Prefect %s", text), "upgrade it: 2.20 is the oldest that we know")
	}
	if missing := lacks(text); len(missing) > 0 {
		return fmt.Sprintf("Prefect %s, which works, but does not have: %s", text, strings.Join(missing, "; ")), nil
	}
	return "Prefect " + text, nil
}

func (p *prefect3Checks) workPools(context.Context) (string, error) {
	for _, name := range p.Scope.Pools {
		i := slices.IndexFunc(p.pools, func(o Pool) bool { return o.Name == name })
		switch {
		case i < 0:
			return "", failed(fmt.Errorf("there is no work pool %q", name), "create it (prefect work-pool create %q --type kubernetes), or correct %s; upper and lower case differ", name, p.Settings.Pools)
		case p.pools[i].Type != served:
			return "", failed(fmt.Errorf("the work pool %q is of type %s", name, p.pools[i].Type), "launchers serve work pools of type kubernetes: take it out of %s, or create another one", p.Settings.Pools)
		}
	}
	if len(p.pools) == 0 {
		return "", failed(errors.New("there is no work pool of type kubernetes"), "create one: prefect work-pool create NAME --type kubernetes")
	}
	var all []string
	for _, o := range p.pools {
		text := o.Name
		if o.Paused {
			text += " (paused)"
		}
		if o.Limit != nil {
			text += fmt.Sprintf(" (limit %d: give its ScaledObject maxReplicaCount: 1, because only one launcher keeps it exactly)", *o.Limit)
		}
		all = append(all, text)
	}
	return strings.Join(all, ", "), nil
}

// due also says what is held back, and why: that is the usual reason why nothing starts.
func (p *prefect3Checks) due(ctx context.Context) (string, error) {
	o, err := p.Client.Observe(ctx, time.Now())
	if err != nil {
		return "", failed(err, "%s", p.adviceOn(err))
	}
	ours := func(place prefect.Place) bool { return p.Anywhere || p.Scope.Takes(place) }
	due, held := 0, map[string]int{}
	for _, r := range o.Due {
		if ours(r.Place) {
			due++
		}
	}
	for _, r := range o.Held {
		if ours(r.Place) {
			held[r.Why]++
		}
	}
	found := strconv.Itoa(due)
	if o.Truncated {
		found = "at least " + found
	}
	if !p.Anywhere {
		found += fmt.Sprintf(" for this launcher, %d for others", len(o.Due)-due)
	}
	for _, why := range slices.SortedFunc(maps.Keys(held), func(a, b string) int { return cmp.Or(held[b]-held[a], cmp.Compare(a, b)) }) {
		found += fmt.Sprintf("; %d held back: %s", held[why], why)
	}
	return found, nil
}

// events never fails: without the stream demand is only found later.
func (p *prefect3Checks) events(ctx context.Context) (string, error) {
	if p.NoEvents {
		return "", skipped("turned off by " + p.Settings.Events)
	}
	if err := p.Client.TryEvents(ctx); err != nil {
		return "not to be had, so runs are found by polls alone, up to a second later and with more requests: " + err.Error(), nil //nolint:nilerr // everything still works
	}
	return "open", nil
}
