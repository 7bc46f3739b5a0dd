// Package claims reads a claimed flow run right before a caller writes about it, and
// undoes a claim that the server applied late.
//
// It decides nothing about Jobs: its error tells the caller to wait or to end.
package claims

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// MaxAge is the maximum age of a read that a claim rests on. A claim from an older
	// read could revive a cancelled or finished run: the server would accept it
	// (prefect1-server §c).
	MaxAge = time.Second
	// arbitratedAge is the same where Prefect refuses the claim of a run that was claimed
	// since. What is left is a run that has finished without being claimed.
	arbitratedAge = 2500 * time.Millisecond
	// SendWithin is the time from a read until a claim or another state must have been
	// sent, so that a launcher that was stopped in between does not send it. It is
	// shorter than any pod's life. If a slow server applies the claim even later, reading
	// the run back or the next poll of the claims shows it.
	SendWithin = 3 * time.Second
	// CreateWithin is the time from the confirmation of a claim until its Job must have
	// been created. Finished Jobs stay for at least five minutes (job.MinTTLSeconds), so
	// until then a name that was ever used is still taken.
	CreateWithin = 30 * time.Second
	// NotNow is the pause before a run is tried again, unless Prefect asks for another.
	NotNow = 5 * time.Second
	// HandBackDelay is how long a run waits that is handed back or restored: its cause may
	// pass, and other launchers that read the same state have acted. It is longer than
	// SendWithin and CreateWithin together: a state may be restored so long after the read
	// that it rests on, and a Job created so long after the same read by another
	// (claim-protocol §6). The rest is for clocks that differ.
	HandBackDelay = 45 * time.Second
	// CallTimeout bounds every call that sets no state.
	CallTimeout = 15 * time.Second
	// AnswerWithin bounds the wait for the answer to a call that sets a state, unless the
	// backend's own time-out is shorter. Giving up sooner would gain nothing: the server
	// applies the state all the same.
	AnswerWithin = time.Minute
)

// MaxAgeOf is the maximum age of a read that the claim of a run rests on.
func MaxAgeOf(run prefect.FlowRun) time.Duration {
	if run.Arbitrated {
		return arbitratedAge
	}
	return MaxAge
}

// Backend reads and restores runs, as in launcher.Backend.
type Backend interface {
	FlowRun(ctx context.Context, id string) (prefect.FlowRun, error)
	History(ctx context.Context, id string, attempt prefect.Attempt) (prefect.History, error)
	Restore(ctx context.Context, run prefect.FlowRun, to prefect.State) error
}

// Cluster knows the Jobs of some namespaces, as jobs.Cluster does.
type Cluster interface {
	NamespaceUID() string
	Further() prefect.Namespaces
	List(ctx context.Context, flowRun string) (jobs.Presence, error)
}

// Claims are the claims of runs with Jobs in the namespaces of a cluster.
type Claims struct {
	Backend Backend
	Cluster Cluster
	// Namespace is the home namespace.
	Namespace string
	// Tell writes a warning to a flow run's log.
	Tell func(flowRun, message string)
}

// Upstream is the system that a failure came from, as logs and metrics name it.
type Upstream string

// The upstreams of this package.
const (
	Prefect    Upstream = "prefect"
	Kubernetes Upstream = "kubernetes"
)

// Failure is an error that may pass by itself.
type Failure struct {
	Err error
	// Of is the upstream that failed; empty if no upstream should be asked less for it.
	Of Upstream
	// After is how long the upstream asked to be left alone.
	After time.Duration
}

// Error is the cause's text.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap is the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Ended says that nothing is to be done about the run now, and why.
type Ended struct {
	Why Why
	// For is when to look again; zero for the next poll.
	For time.Duration
	Err error // may be nil
	Of  Upstream
}

// Why a run is left alone, as logs and metrics name it.
type Why string

// The reasons to leave a run alone.
const (
	Overtaken Why = "overtaken" // somebody else has the run, or it is gone
	Undone    Why = "restored"  // the claim came late, and the run's former state was restored
	TooEarly  Why = "not_now"   // the claim came late, and a Job may still come of it
	Broken    Why = "error"     // the claim came late and could not be undone
)

// Error is for logs.
func (e *Ended) Error() string {
	return fmt.Sprintf("the flow run is left alone (%s): %v", e.Why, e.Err)
}

// Unwrap is the cause.
func (e *Ended) Unwrap() error { return e.Err }

// Read returns the run as it is now, and the time of the question.
func (c Claims) Read(ctx context.Context, id string) (run prefect.FlowRun, at time.Time, err error) {
	at, err = ask(ctx, func(ctx context.Context) (err error) {
		run, err = c.Backend.FlowRun(ctx, id)
		return err
	})
	return run, at, err
}

// History does the same for the run's history since an attempt.
func (c Claims) History(ctx context.Context, id string, attempt prefect.Attempt) (h prefect.History, at time.Time, err error) {
	at, err = ask(ctx, func(ctx context.Context) (err error) {
		h, err = c.Backend.History(ctx, id, attempt)
		return err
	})
	return h, at, err
}

func ask(ctx context.Context, read func(context.Context) error) (at time.Time, err error) {
	at = time.Now()
	err = Bounded(ctx, read)
	switch {
	case errors.Is(err, prefect.ErrNotFound):
		return at, &Ended{Why: Overtaken, Err: err}
	case err != nil:
		return at, &Failure{Err: err, Of: Prefect, After: prefect.RetryAfter(err)}
	}
	return at, nil
}

// Present asks Kubernetes for the run's Jobs and pods.
func (c Claims) Present(ctx context.Context, run string) (found jobs.Presence, err error) {
	err = Bounded(ctx, func(ctx context.Context) (err error) {
		found, err = c.Cluster.List(ctx, run)
		return err
	})
	return found, err
}

// AreHere reports whether the claim's Job is, or will be, in one of the namespaces.
func (c Claims) AreHere(claim prefect.Claim) bool {
	return claim.IsIn(c.Namespace, c.Cluster.NamespaceUID()) || c.Cluster.Further().Have(claim)
}

// IsOurs reports whether a launcher of these namespaces claimed the run for that attempt.
func (c Claims) IsOurs(run prefect.FlowRun, attempt prefect.Attempt) bool {
	return run.State.Phase == prefect.Claimed && run.Claim != nil && run.Claim.Attempt == attempt && c.AreHere(*run.Claim)
}

// Writing is the context of a request that sets a run's state, given when it was read.
func Writing(ctx context.Context, read time.Time) (context.Context, context.CancelFunc) {
	return context.WithTimeout(prefect.WithSendBy(ctx, read.Add(SendWithin)), AnswerWithin)
}

// Bounded gives a call CallTimeout.
func Bounded(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	return call(ctx)
}

// Age is the time since t. The monotonic clock stops while a machine sleeps, so the wall
// clock counts as well.
func Age(t, now time.Time) time.Duration {
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}
