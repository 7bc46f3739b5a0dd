package launcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/admission"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
	"github.com/prefect-keda/prefect-keda/trouble/resolve"
)

// Backend is what a launcher needs of Prefect. Reads may be retried inside;
// writes never are, because an error does not prove that nothing was written.
type Backend interface {
	// Due returns the runs a launcher could claim.
	Due(ctx context.Context, q prefect.DueQuery) (prefect.DueRuns, error)
	// Claimed returns the Claimed runs that carry a Claim of ours, oldest first: of each
	// the id, place, state and claim.
	Claimed(ctx context.Context, s prefect.Scope) ([]prefect.FlowRun, error)
	// FlowRun reads one run as it is now; prefect.ErrNotFound when there is none.
	FlowRun(ctx context.Context, id string) (prefect.FlowRun, error)
	// History reads one run with what was written of it since the attempt; of a JobFirst
	// attempt it is the run alone. prefect.ErrNotFound when there is none.
	History(ctx context.Context, id string, attempt prefect.Attempt) (prefect.History, error)
	// Claim tries once; of a JobFirst run it may claim only a part, and leave the rest
	// claimable. An error means that nothing was claimed and that the same request would
	// be refused again; a *prefect.AuthorError, that what the run carries is too large to
	// go into it.
	Claim(ctx context.Context, run prefect.FlowRun, claim prefect.Claim) (prefect.ClaimResult, error)
	// Launched says that the Job of a claimed run exists. It may be said more than once, and
	// some time after, without the run's recipe. A run whose Job exists is never failed or
	// handed back because it could not be said.
	Launched(ctx context.Context, run prefect.FlowRun, claim prefect.Claim) error
	// Pending tells people why the pod of a claimed run does not start yet. The run keeps
	// its claim.
	Pending(ctx context.Context, run prefect.FlowRun, why string) error
	// Fail ends the run as failed.
	Fail(ctx context.Context, run prefect.FlowRun, f prefect.Failure) error
	// Cancelled ends a run that is Cancelling, because no pod will, with a message for its
	// author.
	Cancelled(ctx context.Context, run prefect.FlowRun, message string) error
	// HandBack puts a claimed run back in the queue, due at the given time, and keeps
	// how often it was returned.
	HandBack(ctx context.Context, run prefect.FlowRun, at time.Time, message string) error
	// Restore sets a state that the run was in before, as it was; one that is scheduled
	// is due at its StartTime.
	Restore(ctx context.Context, run prefect.FlowRun, to prefect.State) error
	// Log adds lines to flow runs' logs; lines of unknown runs are dropped.
	Log(ctx context.Context, entries []prefect.LogEntry) error
	// Keep gives the run a sign of life while its pod waits, and returns by when it needs
	// the next one at the latest, by our own clock.
	Keep(ctx context.Context, run prefect.FlowRun) (next time.Time, err error)
	// Supervise asks which of the runs of active Jobs should end and which runs of
	// ours have fallen silent; what it says of troubled ones is not used here.
	Supervise(ctx context.Context, troubled, active []string) (prefect.Supervision, error)
	// Announce makes the UI show an agent that is alive.
	Announce(ctx context.Context, s prefect.Scope) error
}

// Renderer makes Jobs of the runs of one kind of backend.
type Renderer interface {
	// Render makes the Job for a run's present attempt, named for that attempt. A
	// *prefect.AuthorError is the author's fault, a *job.TemplateError the operator's;
	// any other error may pass, and is a *job.AwayError if it is about the run's own
	// template.
	Render(ctx context.Context, run prefect.FlowRun) (job.Rendering, error)
	// Neutral is a flow run of nobody's, whose author left everything to the launcher.
	// With its own template it does without the launcher's and brings one that says nothing.
	Neutral(ownTemplate bool) prefect.FlowRun
}

// cluster are the namespaces of the Jobs, as jobs.Cluster implements them.
type cluster interface {
	Watch(ctx context.Context)
	Ready() (bool, error)
	NamespaceUID() string
	Further() prefect.Namespaces
	Open(namespace string) error
	Known(flowRun string) jobs.Presence
	List(ctx context.Context, flowRun string) (jobs.Presence, error)
	Create(ctx context.Context, j *batchv1.Job, secret *corev1.Secret) error
	Active() []string
	Troubled(r trouble.Rules, s prefect.Supervision) []jobs.Troubled
	resolve.Jobs
	admission.Jobs
}

// Launcher claims due runs and creates their Jobs.
type Launcher struct {
	Options
	backend  Backend
	renderer Renderer
	jobs     cluster
	accounts admission.Accounts
	trial    *admission.Trial
	log      *slog.Logger
	metrics  *metrics
	lines    *flowLog
	tidings  *tidings
	poke     chan struct{}
	// freed signals that a launch is past its claim or has a slot again.
	freed chan struct{}
	// announced is closed once the agent is registered, or could not be.
	announced chan struct{}
	// stopping is set once nothing more may be claimed.
	stopping atomic.Bool
	// ticked is the time of the last tick in nanoseconds; 0 before and after.
	ticked atomic.Int64
}

// New checks the options and reports everything wrong with them at once. kubernetes gives the
// client for each namespace of Jobs.
func New(o Options, backend Backend, renderer Renderer, kubernetes func(namespace string) jobs.Client) (*Launcher, error) {
	errs := []error{o.validate()}
	client := jobs.Client{}
	if kubernetes != nil {
		client = kubernetes(o.Namespace)
	}
	for _, needed := range []struct {
		what    string
		missing bool
	}{{"backend", backend == nil}, {"renderer", renderer == nil}, {"Kubernetes client", client.Jobs == nil}, {"Kubernetes client for pods, events, logs, Secrets, the namespace and permissions", client.Pods == nil || client.Events == nil || client.Log == nil || client.UID == nil || client.MayUse == nil || client.Secrets == nil}} {
		if needed.missing {
			errs = append(errs, fmt.Errorf("no %s", needed.what))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("set up the launcher: %w", err)
	}
	o = o.withDefaults()
	l := newLauncher(o, backend, renderer, jobs.New(o.Namespace, o.JobNamespaces, kubernetes, o.Marks, o.Logger))
	l.accounts.Ask = func(ctx context.Context, namespace, account string) (bool, error) {
		return kubernetes(namespace).MayUse(ctx, account)
	}
	if err := l.metrics.register(o.Registerer); err != nil {
		return nil, fmt.Errorf("set up the launcher: %w", err)
	}
	return l, nil
}

func newLauncher(o Options, backend Backend, renderer Renderer, j cluster) *Launcher {
	m := newMetrics()
	return &Launcher{
		Options: o, backend: backend, renderer: renderer, jobs: j, trial: admission.NewTrial(renderer, j, o.Marks),
		accounts: admission.Accounts{Operators: o.ServiceAccountName},
		log:      o.Logger, metrics: m,
		lines:   newFlowLog(backend, o.AgentName, o.Logger, m),
		tidings: newTidings(backend, o.Logger, o.Concurrency),
		poke:    make(chan struct{}, 1), freed: make(chan struct{}, 1), announced: make(chan struct{}),
	}
}

// Trial asks Kubernetes whether it would take the Job of a run that brings nothing of
// its own. An *admission.RefusedError says no; any other error says nothing.
func (l *Launcher) Trial(ctx context.Context) error {
	refused, err := l.trial.Neutral(ctx, false)
	if refused != nil {
		return refused
	}
	return err
}

// Poke makes the launcher poll at once, but at most once a second.
func (l *Launcher) Poke() { signal(l.poke) }

// signal never blocks.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// maxTick is the longest pause between two ticks before Live complains. The loop makes no
// call that leaves the process, so only a lack of CPU delays it.
const maxTick = 30 * time.Second

// Live reports whether the loop still ticks. It says nothing of Prefect or Kubernetes,
// which a restart does not mend.
func (l *Launcher) Live() error {
	ticked := l.ticked.Load()
	if ticked == 0 {
		return nil
	}
	if since := time.Since(time.Unix(0, ticked)); since > maxTick {
		return fmt.Errorf("the launcher's loop has not ticked for %s", since.Round(time.Second))
	}
	return nil
}
