package launcher

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/prefect-keda/prefect-keda/backoff"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// Options of a launcher. A zero duration or number means the default named with
// it, or nothing where there is none.
type Options struct {
	// Name tells this launcher from all others: its pod's name. Claims carry it.
	Name string
	// AgentName is the logger's name in flow runs' logs; default "agent".
	AgentName string
	// Namespace is where Jobs are created that name no namespace.
	Namespace string
	// JobNamespaces are further ones where Jobs are created, of runs that name them.
	JobNamespaces []string
	// ServiceAccountName is what the flows' pods get by the operator's word, which
	// need not be asked of RBAC; empty for none.
	ServiceAccountName string
	// Marks are the labels by which the Jobs of the backend's runs are known.
	Marks job.Marks
	// Scope says which runs are ours.
	Scope prefect.Scope

	// Credentials are what to check, in the operator's words, when Prefect refuses the
	// key; default "the key and the tenant".
	Credentials string

	// IdleTimeout: Run returns when nothing was due for so long; default 15 m.
	IdleTimeout time.Duration
	// Stays has Run not return for that, however long nothing is due.
	Stays bool
	// PollInterval between two polls of due runs; default 1 s.
	PollInterval time.Duration
	// Lookahead is how far ahead due runs are fetched; zero fetches what is due.
	Lookahead time.Duration
	// DrainTimeout bounds finishing the actions in flight after Run's context ended;
	// default 25 s. It must be shorter than the pod's grace period.
	DrainTimeout time.Duration
	// ClaimGrace is how old somebody else's claim without a Job must be before we
	// create the Job; default 10 s.
	ClaimGrace time.Duration
	// RetryFor is how long a Job that Kubernetes will not take at the moment (quota,
	// overload) is tried before its run is handed back; default 5 m.
	RetryFor time.Duration
	// Concurrency is how many runs are worked on at once; default 16.
	Concurrency int
	// Rules say what is trouble with a Job; the scaler must have the same. The
	// default grace is 60 s.
	Rules trouble.Rules
	// DeleteFinished has failed Jobs deleted, once their run was told; else they
	// are kept. Jobs that succeed go by their time to live.
	DeleteFinished bool
	// JobTTL is the time to live given to Jobs that succeeded and have none, if
	// DeleteFinished is set; default 10 m.
	JobTTL time.Duration
	// KeepFailed keeps those that failed all the same.
	KeepFailed bool
	// LogLines of a failed container are told its run; 0 tells none.
	LogLines int
	// MaxPolls ends Run after so many polls; 0 means no limit.
	MaxPolls int

	// Jitter keeps launchers that began together from staying together; nil is random.
	Jitter backoff.Jitter
	// Operator is told what does not pass by itself, with a reason to filter by; may be nil.
	Operator func(reason, message string)
	// Logger gets one line per decision; nil discards.
	Logger *slog.Logger
	// Registerer gets the metrics; nil registers nowhere.
	Registerer prometheus.Registerer
}

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	o.AgentName = cmp.Or(o.AgentName, "agent")
	o.Credentials = cmp.Or(o.Credentials, "the key and the tenant")
	o.IdleTimeout = cmp.Or(o.IdleTimeout, 15*time.Minute)
	o.PollInterval = cmp.Or(o.PollInterval, time.Second)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, 25*time.Second)
	o.ClaimGrace = cmp.Or(o.ClaimGrace, 10*time.Second)
	o.RetryFor = cmp.Or(o.RetryFor, 5*time.Minute)
	o.Rules.Grace = cmp.Or(o.Rules.Grace, time.Minute)
	o.JobTTL = cmp.Or(o.JobTTL, 10*time.Minute)
	o.Concurrency = cmp.Or(o.Concurrency, 16)
	if o.Operator == nil {
		o.Operator = func(string, string) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// validate names everything that is wrong at once.
func (o Options) validate() error {
	var errs []error
	if o.Name == "" {
		errs = append(errs, errors.New("the launcher has no name: set its pod's name"))
	}
	if o.Namespace == "" {
		errs = append(errs, errors.New("no namespace is set for Jobs"))
	} else if bad := validation.IsDNS1123Label(o.Namespace); len(bad) > 0 {
		errs = append(errs, fmt.Errorf("the namespace %q for Jobs is not one: %s", o.Namespace, bad[0]))
	}
	for _, name := range o.JobNamespaces {
		if bad := validation.IsDNS1123Label(name); len(bad) > 0 {
			errs = append(errs, fmt.Errorf("the further namespace %q for Jobs is not one: %s", name, bad[0]))
		}
	}
	if o.Marks.Run == "" {
		errs = append(errs, errors.New("no label is set by which Jobs are known"))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"idle timeout", o.IdleTimeout},
		{"poll interval", o.PollInterval},
		{"lookahead", o.Lookahead},
		{"drain timeout", o.DrainTimeout},
		{"claim grace", o.ClaimGrace},
		{"retry time", o.RetryFor},
		{"grace for pods that do not start", o.Rules.Grace},
		{"time a run may wait for its pod", o.Rules.PendingFor},
		{"time a flow may go on that was cancelled", o.Rules.CancelGrace},
		{"time a flow may go on whose run has finished", o.Rules.FinishedGrace},
		{"time to live of finished Jobs", o.JobTTL},
	} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("the %s %s is negative", d.name, d.value))
		}
	}
	if o.Concurrency < 0 {
		errs = append(errs, fmt.Errorf("the concurrency %d is negative", o.Concurrency))
	}
	if o.MaxPolls < 0 {
		errs = append(errs, fmt.Errorf("the maximum of polls %d is negative; 0 means no limit", o.MaxPolls))
	}
	if d := o.withDefaults(); !o.Stays && d.IdleTimeout > 0 && d.PollInterval >= d.IdleTimeout {
		errs = append(errs, fmt.Errorf("the poll interval %s must be shorter than the idle timeout %s, or the launcher leaves before it has looked twice", d.PollInterval, d.IdleTimeout))
	}
	return errors.Join(errs...)
}
