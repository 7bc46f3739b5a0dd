// Package prefect1 speaks to the Prefect 1.x API, Server and Cloud: GraphQL
// over HTTP. It answers in the words of package prefect and lets nothing of the
// protocol out: no document, no generated type, no error text anybody would
// have to parse.
//
// It takes no decision. What is due, who may claim and what an answer means is
// said here; what to do about it is not known here, and neither is Kubernetes.
// The behaviour it relies on is described in prefect1-spec §1.9–1.11, §2 and §7,
// as corrected by measurements on the real server (prefect1-server-facts).
package prefect1

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

//go:generate go tool -modfile=../../hack/tools/go.mod genqlient

// coreVersion is the Prefect version we present ourselves as: the last release
// of the agent this replaces.
const coreVersion = "1.4.1"

// defaultMaxAnswer leaves room for several in a launcher's memory.
const defaultMaxAnswer = 16 << 20

// defaultTimeout for one request is the read time-out of the original client.
const defaultTimeout = 15 * time.Second

// Backend is the kind of API at the other end.
type Backend string

// The two kinds. Cloud has API keys and concurrency limits, Server has neither.
const (
	Server Backend = "server"
	Cloud  Backend = "cloud"
)

// defaultAPI is where each backend is unless told otherwise (prefect1-spec §7.1).
func (b Backend) defaultAPI() string {
	if b == Cloud {
		return "https://api.prefect.io"
	}
	return "http://localhost:4200"
}

// Options say which API to speak to, and as whom.
type Options struct {
	// API is the URL requests are posted to; empty for the backend's own.
	API     string
	Backend Backend
	// Key is the API key. Cloud demands one; Server ignores it, but a proxy in
	// front of it may not.
	Key string
	// TenantID is looked up when empty: the key's tenant, or Server's oldest.
	TenantID string
	// AgentName is what the UI shows and what log lines are signed with.
	AgentName string
	// AgentConfigID is sent on registration; empty for none.
	AgentConfigID string
	// RequestTimeout bounds one request, not its retries; zero means 15 s.
	RequestTimeout time.Duration
	UserAgent      string
	// MaxAnswer bounds the bytes held of one answer, and about those of the runs of one
	// list; zero means 16 MiB. The server takes no more than 5 MB of a run at once, but
	// a flow's storage or a thousand runs may be more.
	MaxAnswer int
	// HTTPTransport replaces the client's own connection pool; nil in production.
	HTTPTransport http.RoundTripper
	// Logger gets debug lines about what was tolerated, and is warned of a tenant that
	// was chosen among several; nil discards.
	Logger *slog.Logger
	// Registerer receives the metrics; nil keeps them to ourselves. Several
	// clients on one Registerer count together.
	Registerer prometheus.Registerer
}

// String leaves the key out, so that options can be logged.
func (o Options) String() string {
	return fmt.Sprintf("%s API at %s, tenant %q, agent %q", o.Backend, o.API, o.TenantID, o.AgentName)
}

// LogValue is String.
func (o Options) LogValue() slog.Value { return slog.StringValue(o.String()) }

// GoString is String, for %#v.
func (o Options) GoString() string { return o.String() }

// Client is a Prefect 1.x API. It is safe for concurrent use, keeps its
// connections and starts no goroutine of its own.
type Client struct {
	wire          *wire
	backend       Backend
	agentName     string
	agentConfigID string
	log           *slog.Logger

	tenantIsGiven bool
	choosing      chan struct{}          // held while the tenant is looked up for the first time
	chosen        atomic.Pointer[string] // the tenant last told of
	confirmed     atomic.Int64           // when the tenant was last asked for, Unix nanoseconds
}

// New checks the options and returns all that is wrong with them at once. It
// makes no request: an API that is away is no reason not to start.
func New(o Options) (*Client, error) {
	o.API = strings.TrimRight(o.API, "/")
	if o.API == "" {
		o.API = o.Backend.defaultAPI()
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.RequestTimeout == 0 {
		o.RequestTimeout = defaultTimeout
	}
	if o.MaxAnswer == 0 {
		o.MaxAnswer = defaultMaxAnswer
	}
	if o.UserAgent == "" {
		o.UserAgent = "prefect-keda"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register the Prefect client's metrics: %w", err)
	}
	return &Client{
		wire:          newWire(o, m),
		backend:       o.Backend,
		agentName:     o.AgentName,
		agentConfigID: o.AgentConfigID,
		log:           o.Logger,
		tenantIsGiven: o.TenantID != "",
		choosing:      make(chan struct{}, 1),
	}, nil
}

func (o Options) validate() error {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if o.Backend != Server && o.Backend != Cloud {
		problem("the backend must be %q or %q, not %q", Server, Cloud, o.Backend)
	}
	// The URL may hold a password, so it is not repeated in the error.
	if u, err := url.Parse(o.API); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		problem("the API URL must look like http://host:4200 or https://api.prefect.io")
	} else if u.User != nil {
		problem("the API URL must not hold a user or password; give the API key instead")
	}
	if o.Backend == Cloud && o.Key == "" {
		problem("Prefect Cloud needs an API key and none is set")
	}
	if strings.TrimSpace(o.Key) != o.Key || strings.ContainsAny(o.Key, "\r\n\x00") {
		problem("the API key has white space around or control characters in it")
	}
	if o.TenantID != "" && !isUUID(o.TenantID) {
		problem("the tenant id must be a UUID, not %q", o.TenantID)
	}
	if o.AgentConfigID != "" && !isUUID(o.AgentConfigID) {
		problem("the agent config id must be a UUID, not %q", o.AgentConfigID)
	}
	if o.RequestTimeout < 0 {
		problem("the request time-out must not be negative")
	}
	return errors.Join(problems...)
}

// identity is who we are to the API, as far as we know yet.
type identity struct {
	tenant atomic.Pointer[string]
	agent  atomic.Pointer[string]
}

func (i *identity) tenantID() string { return deref(i.tenant.Load()) }
func (i *identity) agentID() string  { return deref(i.agent.Load()) }

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// isUUID keeps ids from the outside (labels of Jobs, settings) from becoming
// errors of the API that look like faults of ours.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return false
		}
	}
	return true
}
