// Package prefect1 speaks to the Prefect 1.x API, Server and Cloud: GraphQL over HTTP. It
// answers in the words of package prefect and hides the protocol: documents, generated
// types and error texts.
//
// It tells which runs are due, who may claim and what an answer means; its callers decide
// what to do. It knows nothing of Kubernetes. It relies on observations of the original
// client (prefect1 §1.9–§1.11, §2, §7) and on measurements of a real server
// (docs/spec/prefect1-server.md).
package prefect1

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
)

//go:generate go tool -modfile=../../hack/tools/go.mod genqlient

// coreVersion is the Prefect version we present: the last release of the agent.
const coreVersion = "1.4.1"

// defaultMaxAnswer lets several answers fit into a launcher's memory.
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

// defaultAPI is the usual URL of each backend (prefect1 §7.1).
func (b Backend) defaultAPI() string {
	if b == Cloud {
		return "https://api.prefect.io"
	}
	return "http://localhost:4200"
}

// Options say which API to speak to, and as whom.
type Options struct {
	// API is the URL for requests; empty for the backend's own. Its user and password go
	// out as basic authentication and win over the key, as in the original client
	// (prefect1 §7.2).
	API     string
	Backend Backend
	// Key is the API key. Cloud demands one; Server ignores it, but a proxy in
	// front of it may not.
	Key string
	// Headers are sent with every request; an Authorization among them wins over both.
	Headers http.Header
	// TenantID is looked up when empty: the key's tenant, or Server's oldest.
	TenantID string
	// AgentName appears in the UI and signs log lines.
	AgentName string
	// AgentConfigID is sent on registration; empty for none.
	AgentConfigID string
	// RequestTimeout bounds one request, not its retries; zero means 15 s.
	RequestTimeout time.Duration
	UserAgent      string
	// MaxAnswer bounds the bytes held of one answer, and roughly those of the runs of one
	// list; zero means 16 MiB. The server takes at most 5 MB of a run at once, but a
	// flow's storage or a thousand runs may be more.
	MaxAnswer int
	// HTTPTransport replaces the client's own connection pool; nil in production.
	HTTPTransport http.RoundTripper
	// Logger gets debug lines about tolerated faults, and a warning if we chose a tenant
	// among several; nil discards.
	Logger *slog.Logger
	// Registerer receives the metrics; nil keeps them to ourselves. Several
	// clients on one Registerer count together.
	Registerer prometheus.Registerer
}

// String leaves the key and other credentials out, so that options can be logged.
func (o Options) String() string {
	shown := "?"
	if u, err := url.Parse(o.API); err == nil {
		u.User, u.RawQuery, u.Fragment = nil, "", ""
		shown = u.String()
	}
	return fmt.Sprintf("%s API at %s, tenant %q, agent %q", o.Backend, shown, o.TenantID, o.AgentName)
}

// LogValue is String.
func (o Options) LogValue() slog.Value { return slog.StringValue(o.String()) }

// GoString is String, for %#v.
func (o Options) GoString() string { return o.String() }

// Client speaks to one Prefect 1.x API. It is safe for concurrent use, keeps its
// connections and starts no goroutine of its own.
type Client struct {
	wire          *wire
	backend       Backend
	agentName     string
	agentConfigID string
	log           *slog.Logger

	tenantIsGiven bool
	choosing      chan struct{}          // held while the tenant is looked up for the first time
	chosen        atomic.Pointer[string] // the tenant of the last warning
	confirmed     atomic.Int64           // when the tenant was last asked for, Unix nanoseconds
}

// New checks the options and returns all their faults at once. It makes no request: an
// API that is away is no reason not to start.
func New(o Options) (*Client, error) {
	o.API = cmp.Or(strings.TrimRight(o.API, "/"), o.Backend.defaultAPI())
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.RequestTimeout = cmp.Or(o.RequestTimeout, defaultTimeout)
	o.MaxAnswer = cmp.Or(o.MaxAnswer, defaultMaxAnswer)
	o.UserAgent = cmp.Or(o.UserAgent, "prefect-keda")
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	w, err := newWire(o)
	if err != nil {
		return nil, err
	}
	return &Client{
		wire:          w,
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

// identity is our tenant and agent at the API, as far as we know yet.
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

// isUUID keeps foreign ids (labels of Jobs, settings) from causing errors of the API that
// look like faults of ours.
func isUUID(s string) bool {
	return len(s) == 36 && uuid.Validate(s) == nil // Validate also takes other lengths
}
