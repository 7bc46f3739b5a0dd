package prefecttest

import (
	_ "embed"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	graphql "github.com/graph-gophers/graphql-go"
)

//go:embed schema.graphql
var schemaText string //nolint:gochecknoglobals // embedded text

// depth is how deep the server lets a query go.
const depth = 7

// Options change what is stood in for. The zero value is one Prefect Server.
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
	// OneAtATime makes it a slow server: it serves one request at a time, and each
	// takes so long; zero serves all that come at once.
	OneAtATime time.Duration
}

// Locking says what becomes of a state that is sent with a stale version.
type Locking string

const (
	// LockingOff ignores versions, as Prefect Server does.
	LockingOff Locking = ""
	// LockingByMessage refuses with the older wording of Cloud.
	LockingByMessage Locking = "message"
	// LockingByCode refuses with the newer code, VERSION_LOCKING_ERROR.
	LockingByCode Locking = "code"
)

// API is a Prefect 1.x API: an http.Handler, and the other side's levers.
type API struct {
	options Options
	store   *store
	schema  *graphql.Schema
	counter *counter

	mu        sync.Mutex
	counts    map[string]int
	faults    []*Fault
	splitting *splitting // nil answers a query at one moment
}

// New is an API with one tenant and nothing in it.
func New(o Options) *API {
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &API{options: o, store: newStore(o.Now, o.Replicas), counter: newCounter(o.OneAtATime), counts: map[string]int{}}
	a.schema = graphql.MustParseSchema(schemaText, &resolver{a}, graphql.UseFieldResolvers(), graphql.MaxDepth(depth))
	return a
}

// Start serves the API on a loopback port until the test ends.
func (a *API) Start(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(a)
	t.Cleanup(func() {
		server.CloseClientConnections() // or a request that is being delayed would hold the test up
		server.Close()
	})
	return server.URL
}

// Transport reaches the API without a network, for tests in which time is not
// the real one.
func (a *API) Transport() http.RoundTripper { return transport{a} }

type transport struct{ api *API }

// RoundTrip is that of http.RoundTripper. Who gives up on an answer does not keep
// the request from being served.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	answered := make(chan *http.Response, 1)
	go func() {
		defer close(answered)
		defer r.Body.Close()
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // a panic's value, compared as net/http does
				panic(p)
			}
		}()
		w := httptest.NewRecorder()
		t.api.ServeHTTP(w, r)
		answered <- w.Result()
	}()
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case resp, ok := <-answered:
		if !ok {
			return nil, fmt.Errorf("the stand-in API dropped the connection: %w", io.ErrUnexpectedEOF)
		}
		return resp, nil
	}
}

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
