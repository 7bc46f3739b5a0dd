package scaler

import (
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

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
	"github.com/prefect-keda/prefect-keda/trouble/informer"
)

// Source is what the scaler asks of a Prefect API: one look, in one request whose
// parts may be of different moments, at the runs due before until and at the claims
// of ours that no pod has started.
type Source interface {
	Observe(ctx context.Context, until time.Time) (prefect.Observation, error)
	// Supervise asks what the runs of Jobs in trouble are at, which of the runs of
	// active Jobs should end, and which runs of ours have fallen silent.
	Supervise(ctx context.Context, troubled, active []string) (prefect.Supervision, error)
}

// Connection is a Prefect API and the place where its runs become Jobs.
type Connection struct {
	Source Source
	// JobNamespaces are watched for Jobs, to know which claims lack theirs and
	// which Jobs are in trouble. Empty: neither is followed or ever counts.
	JobNamespaces []string
	// Allowed are the namespaces whose ScaledObjects may ask about it; empty, or
	// AnyNamespace among them, means all. The caller says which namespace it speaks
	// for, so this keeps apart those whose calls come through KEDA.
	Allowed []string
	// AllowedSetting names the setting of that, for who has to mend it.
	AllowedSetting string
	// Credentials names the settings of the key and the tenant, for who has to mend
	// them; may be empty.
	Credentials string
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
	// ClientCAFile, when set, makes a client certificate signed by it a must.
	ClientCAFile string
	// ClientNames, when given, are those of which the client's certificate must have
	// one as an alternative name (DNS or URI). A CA has often signed for others too.
	ClientNames []string
}

// Options are all that a Server can be told. A zero duration means the default
// named with it, or nothing where there is none.
type Options struct {
	// Listen is the address of the gRPC server, as in ":9090".
	Listen string
	// Connections by the name ScaledObjects give in their metadata.
	Connections map[string]Connection
	// Kubernetes gives the clients of a namespace; needed when a connection has JobNamespaces.
	Kubernetes func(namespace string) informer.Client

	// PollInterval is the pause between two looks; 1 s by default. It grows
	// fivefold while nobody asks.
	PollInterval time.Duration
	// PollTimeout bounds one look; 15 s by default, as the agent had it.
	PollTimeout time.Duration
	// MaxStaleness is how long an answer is served after Prefect went away,
	// before KEDA is given an error, which freezes it; 2 m by default.
	MaxStaleness time.Duration
	// WarmUpLead is how long before its time a scheduled run counts as demand;
	// ScaledObjects may choose another. Zero wakes nobody ahead of time.
	WarmUpLead time.Duration
	// Rules say what is trouble; launchers must have the same. The zero Grace is
	// one of 60 s.
	Rules trouble.Rules

	// TLS, when set, replaces plain text.
	TLS *TLS
	// Reflection lets grpcurl and the like list the services.
	Reflection bool

	// Logger and Registerer may be nil.
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&o.PollInterval, time.Second)
	set(&o.PollTimeout, 15*time.Second)
	set(&o.MaxStaleness, 2*time.Minute)
	set(&o.Rules.Grace, time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// validate returns all that is wrong at once, each in words for the operator.
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
		// A ScaledObject's metadata must be able to spell it without quoting.
		if !isName(name, 63, upper) {
			wrong("connection %q: a name has up to 63 letters, digits, '.', '_' or '-'", name)
		}
		if c.Source == nil {
			wrong("connection %q: no Prefect API given", name)
		}
		if len(c.JobNamespaces) > 0 && o.Kubernetes == nil {
			wrong("connection %q: watching Jobs in %s needs a Kubernetes client", name, strings.Join(c.JobNamespaces, ", "))
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
	if o.WarmUpLead > maxWarmUpLead {
		wrong("warm-up lead is %s: at most %s", o.WarmUpLead, maxWarmUpLead)
	}
	if o.PollInterval < minPollInterval {
		wrong("poll interval is %s: at least %s", o.PollInterval, minPollInterval)
	}
	if o.PollTimeout < minPollInterval {
		wrong("poll timeout is %s: at least %s", o.PollTimeout, minPollInterval)
	}
	// Otherwise the answers would turn stale between two successful looks.
	if need := idleFactor*o.PollInterval + o.PollTimeout; o.MaxStaleness < need {
		wrong("maximum staleness is %s: it must be at least %s, %d times the poll interval (%s) plus the poll timeout (%s)",
			o.MaxStaleness, need, idleFactor, o.PollInterval, o.PollTimeout)
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
