// Package prefect3 speaks to the API of Prefect 3 and of Prefect 2.20, Server and Cloud:
// REST over HTTP, and the stream of events. It answers in the words of package prefect and
// hides the protocol: paths, rows and states.
//
// It tells which runs are due, who may claim and what an answer means; its callers decide
// what to do. It knows nothing of Kubernetes, and of base job templates only where to read
// them. It relies on observations of real servers and workers (docs/spec/prefect3.md).
package prefect3

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

const (
	// defaultMaxAnswer lets several answers fit into a launcher's memory.
	defaultMaxAnswer = 16 << 20
	// defaultTimeout for one request, not its retries.
	defaultTimeout = 30 * time.Second
	// workerType is the type of the work pools that we serve.
	workerType = "kubernetes"
)

// Options say which API to speak to, and as whom.
type Options struct {
	// API is the URL as PREFECT_API_URL has it: http://host:4200/api, or Cloud's with
	// account and workspace.
	API string
	// Key is Cloud's API key; a Server ignores it, but a proxy in front of it may not.
	Key string
	// AuthString is a Server's "user:password". It wins over Key (prefect3 §7.1).
	AuthString string
	// Headers are sent with every request; an Authorization among them wins over both.
	Headers http.Header
	// CAFile has the certificates to trust; empty for the system's.
	CAFile string
	// SkipVerify trusts any certificate.
	SkipVerify bool
	// NoCSRF never asks for a token, even if the server demands one.
	NoCSRF bool
	// WorkerName appears in the UI as the worker of our runs; empty means prefect-keda.
	WorkerName string
	// AnnounceEvery is the least time between two heartbeats for one work pool; zero means
	// five minutes.
	AnnounceEvery time.Duration
	// RequestTimeout bounds one request, not its retries; zero means 30 s.
	RequestTimeout time.Duration
	UserAgent      string
	// MaxAnswer bounds the bytes held of one answer; zero means 16 MiB.
	MaxAnswer int
	// HTTPTransport replaces the client's own connection pool; nil in production.
	HTTPTransport http.RoundTripper
	// Logger gets debug lines about tolerated faults; nil discards.
	Logger *slog.Logger
	// Registerer receives the metrics; nil keeps them to ourselves. Several clients on one
	// Registerer count together.
	Registerer prometheus.Registerer
}

// String leaves key, password and headers out, so that options can be logged.
func (o Options) String() string {
	shown := "?"
	if u, err := url.Parse(o.API); err == nil {
		u.User, u.RawQuery, u.Fragment = nil, "", ""
		shown = u.String()
	}
	return fmt.Sprintf("API at %s, worker %q", shown, o.WorkerName)
}

// LogValue is String.
func (o Options) LogValue() slog.Value { return slog.StringValue(o.String()) }

// GoString is String, for %#v.
func (o Options) GoString() string { return o.String() }

// isCloud reports whether a URL is that of a Cloud workspace.
func isCloud(api string) bool { return strings.Contains(api, "/api/accounts/") }

// Client speaks to one Prefect 3 API. It is safe for concurrent use, keeps its connections
// and starts no goroutine of its own.
type Client struct {
	wire          *wire
	isCloud       bool
	workerName    string
	announceEvery time.Duration
	log           *slog.Logger

	server    serverVersion
	slots     ledger
	lookups   lookups
	looks     looks
	histories histories
	beats     beats
	events    atomic.Bool // the stream of events is up
	holds     atomic.Bool // the last look found runs that are held back
}

// New checks the options and returns all their faults at once. It makes no request: an
// API that is away is no reason not to start.
func New(o Options) (*Client, error) {
	o.API = strings.TrimRight(o.API, "/")
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.RequestTimeout = cmp.Or(o.RequestTimeout, defaultTimeout)
	o.MaxAnswer = cmp.Or(o.MaxAnswer, defaultMaxAnswer)
	o.UserAgent = cmp.Or(o.UserAgent, "prefect-keda")
	o.WorkerName = cmp.Or(o.WorkerName, "prefect-keda")
	o.AnnounceEvery = cmp.Or(o.AnnounceEvery, announceEvery)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	w, err := newWire(o)
	if err != nil {
		return nil, err
	}
	return &Client{
		wire: w, isCloud: isCloud(o.API), workerName: o.WorkerName, announceEvery: o.AnnounceEvery, log: o.Logger,
		server: serverVersion{asking: make(chan struct{}, 1)},
	}, nil
}

func (o Options) validate() error {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	// The URL may hold a password, so it is not repeated in the error.
	u, err := url.Parse(o.API)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		problem("the API URL must look like http://host:4200/api or https://api.prefect.cloud/api/accounts/ID/workspaces/ID")
	case u.User != nil:
		problem("the API URL has a user or password in it: set PREFECT_API_AUTH_STRING instead")
	}
	if isCloud(o.API) && o.Key == "" {
		problem("Prefect Cloud needs an API key and none is set")
	}
	for what, secret := range map[string]string{"API key": o.Key, "auth string": o.AuthString} {
		switch {
		case strings.TrimSpace(secret) != secret || strings.ContainsAny(secret, "\r\n\x00"):
			problem("the %s has white space around or control characters in it", what)
		case !isASCII(secret):
			// A server answers 500 to it (prefect3 §7.1).
			problem("the %s has characters other than ASCII, which Prefect's server cannot compare: choose another one", what)
		}
	}
	// The server takes such a User-Agent for a Prefect client of that version (prefect3 §7.1).
	if strings.HasPrefix(o.UserAgent, "prefect/") {
		problem("the User-Agent must not begin with prefect/")
	}
	if o.RequestTimeout < 0 || o.AnnounceEvery < 0 {
		problem("the request time-out and the time between heartbeats must not be negative")
	}
	return errors.Join(problems...)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] > 127 {
			return false
		}
	}
	return true
}

// isUUID keeps foreign ids (labels of Jobs, settings) from causing errors of the API that
// look like faults of ours.
func isUUID(s string) bool {
	return len(s) == 36 && uuid.Validate(s) == nil // Validate also takes other lengths
}
