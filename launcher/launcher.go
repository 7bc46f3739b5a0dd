package launcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// Backend is what a launcher needs of Prefect. Reads may be retried inside;
// writes never are, because an error does not prove that nothing was written.
type Backend interface {
	// Due returns the runs a launcher could claim.
	Due(ctx context.Context, q prefect.DueQuery) (prefect.DueRuns, error)
	// Claimed returns the Submitted runs that carry a Claim of ours, oldest first: of
	// each the id, labels, state and claim.
	Claimed(ctx context.Context, labels []string) ([]prefect.FlowRun, error)
	// FlowRun reads one run as it is now; prefect.ErrNotFound when there is none.
	FlowRun(ctx context.Context, id string) (prefect.FlowRun, error)
	// History reads one run with what was written of it since the attempt; of an attempt
	// to retry it is the run alone. prefect.ErrNotFound when there is none.
	History(ctx context.Context, id string, attempt prefect.Attempt) (prefect.History, error)
	// Claim tries once, of a Running run's tasks with as many as one request takes.
	// An error means that nothing was claimed and that the same request would be
	// refused again; a *prefect.AuthorError, that the run's state or a task's is too
	// large to go into it.
	Claim(ctx context.Context, run prefect.FlowRun, claim prefect.Claim) (prefect.ClaimResult, error)
	// Fail sets the run Failed with a message for its author.
	Fail(ctx context.Context, run prefect.FlowRun, message string) error
	// Cancel sets the run Cancelled with a message for its author.
	Cancel(ctx context.Context, run prefect.FlowRun, message string) error
	// HandBack puts a claimed run back in the queue, due at the given time, and keeps
	// how often it was returned.
	HandBack(ctx context.Context, run prefect.FlowRun, at time.Time, message string) error
	// Restore sets a state that the run was in before, as it was; one that is scheduled
	// is due at its StartTime.
	Restore(ctx context.Context, run prefect.FlowRun, to prefect.State) error
	// Log adds lines to flow runs' logs; lines of unknown runs are dropped.
	Log(ctx context.Context, entries []prefect.LogEntry) error
	// Heartbeat says that the run is looked after while its pod waits.
	Heartbeat(ctx context.Context, flowRunID string) error
	// Supervise asks which of the runs of active Jobs should end and which runs of
	// ours have fallen silent; what it says of troubled ones is not used here.
	Supervise(ctx context.Context, troubled, active []string) (prefect.Supervision, error)
	// Announce makes the UI show an agent that is alive.
	Announce(ctx context.Context, labels []string) error
}

// Renderer makes the Job for a run's present attempt, named for that attempt.
// A *prefect.AuthorError is the author's fault, a *job.TemplateError the
// operator's; any other error may pass.
type Renderer interface {
	Render(ctx context.Context, run prefect.FlowRun) (*batchv1.Job, error)
}

// Launcher claims due runs and creates their Jobs.
type Launcher struct {
	Options
	backend  Backend
	renderer Renderer
	jobs     jobs
	accounts accounts
	trial    *trial
	log      *slog.Logger
	metrics  *metrics
	lines    *flowLog
	poke     chan struct{}
	// freed says that a try is done with its claim, and not with all it does.
	freed chan struct{}
	// announced is closed once the agent is registered, or could not be.
	announced chan struct{}
	// stopping is set once nothing more may be claimed.
	stopping atomic.Bool
	// turned is when the loop last went round, in nanoseconds; 0 before and after.
	turned atomic.Int64
}

// New checks the options and reports everything wrong with them at once.
func New(o Options, backend Backend, renderer Renderer, client Kubernetes) (*Launcher, error) {
	errs := []error{o.validate()}
	for _, needed := range []struct {
		what    string
		missing bool
	}{{"backend", backend == nil}, {"renderer", renderer == nil}, {"Kubernetes client", client.Jobs == nil}, {"Kubernetes client for pods, events, logs, the namespace and permissions", client.Pods == nil || client.Events == nil || client.Log == nil || client.UID == nil || client.MayUse == nil}} {
		if needed.missing {
			errs = append(errs, fmt.Errorf("no %s", needed.what))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("set up the launcher: %w", err)
	}
	o = o.withDefaults()
	l := newLauncher(o, backend, renderer, newCluster(client, o.Namespace, o.Logger.With("namespace", o.Namespace)))
	l.accounts.ask = client.MayUse
	if err := l.metrics.register(o.Registerer); err != nil {
		return nil, fmt.Errorf("set up the launcher: %w", err)
	}
	return l, nil
}

func newLauncher(o Options, backend Backend, renderer Renderer, j jobs) *Launcher {
	m := newMetrics()
	return &Launcher{
		Options: o, backend: backend, renderer: renderer, jobs: j, trial: newTrial(renderer, j),
		log: o.Logger, metrics: m,
		lines: newFlowLog(backend, o.AgentName, o.Logger, m),
		poke:  make(chan struct{}, 1), freed: make(chan struct{}, 1), announced: make(chan struct{}),
	}
}

// Poke makes the launcher look at once, but no more than once a second.
func (l *Launcher) Poke() { signal(l.poke) }

// signal does not wait for whoever is signalled, or has been already.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// maxTurn is how long the loop may take to come round before Live complains. No
// call leaves the process from the loop itself, so it is short of nothing but CPU.
const maxTurn = 30 * time.Second

// pokeGap parts the looks that pokes ask for.
const pokeGap = time.Second

// Live reports whether the loop still turns. It says nothing of Prefect or
// Kubernetes: being restarted mends neither.
func (l *Launcher) Live() error {
	turned := l.turned.Load()
	if turned == 0 {
		return nil
	}
	if since := time.Since(time.Unix(0, turned)); since > maxTurn {
		return fmt.Errorf("the launcher's loop has not turned for %s", since.Round(time.Second))
	}
	return nil
}
