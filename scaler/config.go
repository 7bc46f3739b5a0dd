package scaler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prefect-keda/prefect-keda/backoff"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/jobs/informer"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// Source polls a Prefect API for the scaler: for the runs due before until, and for our
// claims that no pod has started. It is few requests, whose parts may be of different
// moments.
type Source interface {
	Observe(ctx context.Context, until time.Time) (prefect.Observation, error)
	// Supervise asks what the runs of Jobs in trouble are at, which of the runs of
	// active Jobs should end, and which runs of ours have fallen silent.
	Supervise(ctx context.Context, troubled, active []string) (prefect.Supervision, error)
}

// Notifier is a Source that can also tell when something changes, so that polls may be
// rare. Without it, or while it fails, demand is only found later.
type Notifier interface {
	// Notify calls changed after anything that may change an Observation, and whenever
	// PollEvery changes, until ctx ends. It connects again by itself and returns an error
	// only if that is no use. The calls need not wait for each other, may be many, and may
	// come a moment before Observe sees the change.
	Notify(ctx context.Context, changed func()) error
	// PollEvery is how rarely to poll as things are: more rarely while changes are told. Zero
	// leaves it to the scaler. It is called often and must not wait.
	PollEvery() time.Duration
}

// Announcer is a Source that can show people in Prefect that somebody serves their places.
type Announcer interface {
	// Announce says that the places of the scope are served. It is called every
	// AnnounceEvery with all that the connection's triggers serve, and soon after that has
	// changed. However many places these are, it should cost few requests a minute.
	Announce(ctx context.Context, scope prefect.Scope) error
}

// AnnounceEvery is the time between two calls of Announce.
const AnnounceEvery = 5 * time.Minute

// Connection is a Prefect API and the place where its runs become Jobs.
type Connection struct {
	// Source may be a Notifier and an Announcer too.
	Source Source
	// Places says which keys the metadata of a trigger may have.
	Places PlaceKind
	// Announce makes use of an Announcer.
	Announce bool
	// JobNamespaces are watched for Jobs, to know which claims lack theirs and
	// which Jobs are in trouble. Without any, neither ever counts.
	JobNamespaces []string
	// Marks are the labels by which its Jobs are known.
	Marks job.Marks
	// Rules define trouble of its Jobs; nil for those of Options, whose Grace also
	// counts for a zero one. Connections with the same Marks need the same.
	Rules *trouble.Rules
	// Allowed are the namespaces whose ScaledObjects may ask about it; empty, or
	// AnyNamespace among them, means all. The caller states its namespace, so this
	// separates only callers that come through KEDA.
	Allowed []string
	// AllowedSetting names the setting for Allowed, for messages to the operator.
	AllowedSetting string
	// RunURL is the address of a flow run in Prefect's UI; nil where that is not known.
	RunURL func(id string) string
	// Replaces is what would always be up without us.
	Replaces Process
	// Credentials names the settings for key and tenant, for messages to the operator; may
	// be empty.
	Credentials string
}

// Process is one that a person might run instead of us.
type Process struct {
	// Name is "Prefect worker" or the like; empty if there is none.
	Name string
	// Memory is what one takes while it waits, in bytes.
	Memory int64
}

// AnyNamespace stands for all namespaces.
const AnyNamespace = "*"

func (c Connection) allows(namespace string) bool {
	return len(c.Allowed) == 0 || slices.Contains(c.Allowed, AnyNamespace) || slices.Contains(c.Allowed, namespace)
}

// TLS names the files of the server's certificate. They are read again when
// they change, so a rotation needs no restart.
type TLS struct {
	CertFile, KeyFile string
	// ClientCAFile, when set, makes the server demand client certificates signed by it.
	ClientCAFile string
	// ClientNames, when given, are the accepted alternative names (DNS or URI) of client
	// certificates. They are useful because a CA has often signed for others too.
	ClientNames []string
}

// Options are the settings of a Server. A zero duration means the default named with it,
// if there is one.
type Options struct {
	// Listen is the address of the gRPC server, as in ":9090".
	Listen string
	// Connections by the name ScaledObjects give in their metadata.
	Connections map[string]Connection
	// Kubernetes gives the clients of a namespace; needed when a connection has JobNamespaces.
	Kubernetes func(namespace string) informer.Client

	// Ready is false while something is missing that KEDA should wait for; nil for nothing.
	Ready func() error

	// PollInterval is the pause between two polls; 1 s by default. It grows
	// fivefold while nobody asks.
	PollInterval time.Duration
	// PollTimeout bounds one poll; 15 s by default, as in the agent.
	PollTimeout time.Duration
	// MaxStaleness is how long we answer from the last poll after Prefect went away; then
	// KEDA gets an error and freezes. 2 m by default.
	MaxStaleness time.Duration
	// WarmUpLead is how long before its time a scheduled run counts as demand;
	// ScaledObjects may choose another. With zero it does not count ahead of its time.
	WarmUpLead time.Duration
	// Rules define trouble; launchers need the same. A zero Grace means 60 s.
	Rules trouble.Rules

	// TLS, when set, replaces plain text.
	TLS *TLS
	// Reflection lets grpcurl and the like list the services.
	Reflection bool

	// Jitter spreads polls and streams that began together; nil is random.
	Jitter backoff.Jitter
	// Operator gets messages for the operator; may be nil.
	Operator Operator
	// Logger and Registerer may be nil.
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// The bounds of Options, which settings have as well.
const (
	// MinPollInterval spares the Prefect API.
	MinPollInterval = 100 * time.Millisecond
	// MinPollTimeout suits an API in the same cluster.
	MinPollTimeout = 100 * time.Millisecond
	// MaxWarmUpLead: with a longer lead, a launcher would practically always be up.
	MaxWarmUpLead = 10 * time.Minute
	// IdleFactor multiplies the poll interval while KEDA does not ask.
	IdleFactor = 5
)

// MinStaleness is the least MaxStaleness: otherwise the answers would turn stale
// between two successful polls.
func MinStaleness(interval, timeout time.Duration) time.Duration {
	return IdleFactor*interval + timeout
}

func (o Options) withDefaults() Options {
	o.PollInterval = cmp.Or(o.PollInterval, time.Second)
	o.PollTimeout = cmp.Or(o.PollTimeout, 15*time.Second)
	o.MaxStaleness = cmp.Or(o.MaxStaleness, 2*time.Minute)
	o.Rules.Grace = cmp.Or(o.Rules.Grace, time.Minute)
	o.Operator = cmp.Or[Operator](o.Operator, nobody{})
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return o
}

// validate returns all mistakes at once, in words for the operator.
func (o Options) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if _, _, err := net.SplitHostPort(o.Listen); err != nil {
		wrong("listen address %q: give host:port or :port: %w", o.Listen, err)
	}
	if len(o.Connections) == 0 {
		wrong("no connection: give at least one Prefect API")
	}
	for _, name := range slices.Sorted(maps.Keys(o.Connections)) {
		c := o.Connections[name]
		// A name has to fit into a ScaledObject's metadata without quotes.
		if !isName(name, 63, upper) {
			wrong("connection %q: a name has up to 63 letters, digits, '.', '_' or '-'", name)
		}
		if c.Source == nil {
			wrong("connection %q: no Prefect API given", name)
		}
		if len(c.JobNamespaces) > 0 && o.Kubernetes == nil {
			wrong("connection %q: watching Jobs in %s needs a Kubernetes client", name, strings.Join(c.JobNamespaces, ", "))
		}
		if len(c.JobNamespaces) > 0 && c.Marks.Run == "" {
			wrong("connection %q: no label given by which its Jobs are known", name)
		}
		if slices.Contains(c.JobNamespaces, "") {
			wrong("connection %q: a job namespace is empty; name each one", name)
		}
	}
	positive := func(what string, d time.Duration) {
		if d < 0 {
			wrong("%s is %s: it must not be negative", what, d)
		}
	}
	positive("warm-up lead", o.WarmUpLead)
	positive("grace for pods that do not start", o.Rules.Grace)
	positive("time a run may wait for its pod", o.Rules.PendingFor)
	positive("time a flow may go on that was cancelled", o.Rules.CancelGrace)
	positive("time a flow may go on whose run has finished", o.Rules.FinishedGrace)
	if o.WarmUpLead > MaxWarmUpLead {
		wrong("warm-up lead is %s: at most %s", o.WarmUpLead, MaxWarmUpLead)
	}
	if o.PollInterval < MinPollInterval {
		wrong("poll interval is %s: at least %s", o.PollInterval, MinPollInterval)
	}
	if o.PollTimeout < MinPollTimeout {
		wrong("poll timeout is %s: at least %s", o.PollTimeout, MinPollTimeout)
	}
	if need := MinStaleness(o.PollInterval, o.PollTimeout); o.MaxStaleness < need {
		wrong("maximum staleness is %s: it must be at least %s, %d times the poll interval (%s) plus the poll timeout (%s)",
			o.MaxStaleness, need, IdleFactor, o.PollInterval, o.PollTimeout)
	}
	if t := o.TLS; t != nil && (t.CertFile == "" || t.KeyFile == "") {
		wrong("TLS needs both a certificate file and a key file")
	}
	if t := o.TLS; t != nil && len(t.ClientNames) > 0 && t.ClientCAFile == "" {
		wrong("names of clients need a file with the CA of their certificates")
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("scaler settings: %w", err)
	}
	return nil
}
