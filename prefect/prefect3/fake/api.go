package fake

import (
	"cmp"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect/standin"
)

// Newest is the version of the server that the stand-in was recorded from.
const Newest = "3.9.1"

// Options change the stand-in. The zero value is a Prefect Server of the newest version
// without authentication.
type Options struct {
	// Now is the server's clock; nil for the real one.
	Now func() time.Time
	// Version of the server; empty for the newest.
	Version string
	// Cloud makes it a workspace of Prefect Cloud, as far as that is known: no version, and
	// a worker's id in the answer to its heartbeat.
	Cloud bool
	// AuthString makes it demand this user and password, "user:pass".
	AuthString string
	// Key makes it demand this API key, as Cloud does.
	Key string
	// CSRF makes it demand a token with each request that may write.
	CSRF bool
	// Lease is how long a claim holds a deployment's slot; zero for 5 minutes.
	Lease time.Duration
	// Work makes a slow server: it serves one request after another, each for as long as
	// Work says of its route, as in Counts.
	Work func(route string) time.Duration
}

// API is a Prefect 3 API: an http.Handler, and levers for tests.
type API struct {
	options Options
	version version
	store   *store
	mux     *http.ServeMux
	counter standin.Counter

	mu     sync.Mutex
	counts map[string]int
	faults []*Fault
}

// New makes an API with nothing in it.
func New(o Options) *API {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Version = cmp.Or(o.Version, Newest)
	o.Lease = cmp.Or(o.Lease, 5*time.Minute)
	a := &API{options: o, version: parseVersion(o.Version), mux: http.NewServeMux(), counter: standin.NewCounter(), counts: map[string]int{}}
	a.store = newStore(o, a.version)
	a.route()
	return a
}

// Start serves the API on a loopback port until the test ends, and returns its URL.
func (a *API) Start(t testing.TB) string {
	t.Helper()
	return standin.Serve(t, a, a.DropStreams) + "/api"
}

// Transport reaches the API without a network, for tests with a clock of their own. It
// serves any host. Event streams need Start.
func (a *API) Transport() http.RoundTripper { return standin.Transport(a) }

// Counts says how often each route was asked for, as in "POST /flow_runs/filter", and
// "requests" how often any was.
func (a *API) Counts() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.counts)
}

func (a *API) count(route string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts["requests"]++
	a.counts[route]++
}
