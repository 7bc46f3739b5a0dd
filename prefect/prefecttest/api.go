package prefecttest

import (
	_ "embed"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	graphql "github.com/graph-gophers/graphql-go"

	"github.com/prefect-keda/prefect-keda/prefect/standin"
)

//go:embed schema.graphql
var schemaText string //nolint:gochecknoglobals // embedded text

// depth is the server's limit on the depth of a query.
const depth = 7

// Options change the stand-in. The zero value is one Prefect Server.
type Options struct {
	// Now is the server's clock; nil for the real one.
	Now func() time.Time
	// Replicas of the API process; each has its own memory of what was submitted,
	// and requests go to them in turn.
	Replicas int
	// Key makes it demand this API key, as Cloud does.
	Key string
	// Locking makes it compare versions, as Cloud does.
	Locking Locking
	// Limits are Cloud's concurrency limits: how many runs with a label may be
	// Submitted or Running.
	Limits map[string]int
	// Secrets are Cloud's, by name.
	Secrets map[string]any
	// OneAtATime makes a slow server: it serves one request at a time, each for so long;
	// zero serves all that come at once.
	OneAtATime time.Duration
}

// Locking says how the API treats a state sent with a stale version.
type Locking string

const (
	// LockingOff ignores versions, as Prefect Server does.
	LockingOff Locking = ""
	// LockingByMessage refuses with the older wording of Cloud.
	LockingByMessage Locking = "message"
	// LockingByCode refuses with the newer code, VERSION_LOCKING_ERROR.
	LockingByCode Locking = "code"
)

// API is a Prefect 1.x API: an http.Handler, and levers for tests.
type API struct {
	options Options
	store   *store
	schema  *graphql.Schema
	counter standin.Counter

	mu        sync.Mutex
	counts    map[string]int
	faults    []*Fault
	splitting *splitting // nil answers a query at one moment
}

// New makes an API with one tenant and nothing in it.
func New(o Options) *API {
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &API{options: o, store: newStore(o.Now, o.Replicas), counter: standin.NewCounter(), counts: map[string]int{}}
	a.schema = graphql.MustParseSchema(schemaText, &resolver{a}, graphql.UseFieldResolvers(), graphql.MaxDepth(depth))
	return a
}

// Start serves the API on a loopback port until the test ends.
func (a *API) Start(t testing.TB) string {
	t.Helper()
	return standin.Serve(t, a, func() {})
}

// Transport reaches the API without a network, for tests with a clock of their own.
func (a *API) Transport() http.RoundTripper { return standin.Transport(a) }

// Counts says how often each root field was asked for, and "requests" how often
// anything was.
func (a *API) Counts() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.counts)
}

func (a *API) count(operations []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts["requests"]++
	for _, name := range operations {
		a.counts[name]++
	}
}
