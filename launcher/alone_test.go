package launcher

import (
	"context"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// meanwhile is a launcher's world in which something happens right before a call
// takes effect, or before its answer arrives.
type meanwhile struct {
	*eyes
	// before and after by the call's name; each is called once for each such call.
	before, after map[string]func()
	// createBy is the deadline that creating last had, handBackBy by when handing back
	// had to be sent, confirmed when the last request was sent that told whose the run
	// is.
	createBy, handBackBy, confirmed time.Time
}

func happens(at map[string]func(), op string) {
	if do := at[op]; do != nil {
		do()
	}
}

func (m *meanwhile) FlowRun(ctx context.Context, id string) (prefect.FlowRun, error) {
	m.confirmed = time.Now()
	happens(m.before, "read")
	defer happens(m.after, "read")
	return m.eyes.FlowRun(ctx, id)
}

func (m *meanwhile) History(ctx context.Context, id string, attempt prefect.Attempt) (prefect.History, error) {
	m.confirmed = time.Now()
	happens(m.before, "read")
	defer happens(m.after, "read")
	return m.eyes.History(ctx, id, attempt)
}

func (m *meanwhile) Claim(ctx context.Context, run prefect.FlowRun, c prefect.Claim) (prefect.ClaimResult, error) {
	m.confirmed = time.Now()
	happens(m.before, "claim")
	defer happens(m.after, "claim")
	return m.eyes.Claim(ctx, run, c)
}

func (m *meanwhile) List(ctx context.Context, run string) (jobs.Presence, error) {
	happens(m.before, "list")
	return m.eyes.List(ctx, run)
}

func (m *meanwhile) Create(ctx context.Context, j *batchv1.Job, secret *corev1.Secret) error {
	happens(m.before, "create")
	defer happens(m.after, "create")
	m.createBy, _ = ctx.Deadline()
	return m.eyes.Create(ctx, j, secret)
}

func (m *meanwhile) HandBack(ctx context.Context, run prefect.FlowRun, at time.Time, message string) error {
	m.handBackBy, _ = prefect.SendBy(ctx)
	return m.eyes.HandBack(ctx, run, at, message)
}

// alone is a launcher that acts on what is in the memory, in an empty cluster of
// which its watch tells nothing.
func alone(m *memory) (*Launcher, *meanwhile) {
	world := &meanwhile{
		eyes:   &eyes{memory: m, store: emptyStore(), actor: "me", uid: "here", blind: true},
		before: map[string]func(){}, after: map[string]func(){},
	}
	return newLauncher(Options{Name: "me", Namespace: "flows", Marks: kubernetesrun.Marks()}.withDefaults(), world, template{}, world), world
}

// ours is a claim of an attempt from here.
func ours(attempt prefect.Attempt) *prefect.Claim {
	name, _ := job.Name("prefect-job", "r", attempt, 0)
	return &prefect.Claim{Launcher: "me", Namespace: "flows", NamespaceUID: "here", Attempt: attempt, Job: name}
}

// submitted is a run with a claim.
func submitted(version int, claim *prefect.Claim) *runBuilder {
	b := run("r").version(version).in("Submitted")
	b.Claim = claim
	return b
}

// carriedOut is what comes of an action where nothing happens between two tries.
func carriedOut(t testing.TB, l *Launcher, a Action) outcome {
	t.Helper()
	return l.carryOut(t.Context(), &flight{Action: a}, sleep)
}

// sleep passes the time between two tries.
func sleep(_ context.Context, failed outcome) { time.Sleep(time.Until(failed.again)) }

// inFlight is the launch of a run that was claimed as ours, that long ago.
func inFlight(l *Launcher, since time.Duration) *launch {
	return &launch{Launcher: l, flight: &flight{}, pause: sleep, kind: Launch, run: run("r").FlowRun, claim: *ours("v1"), claimed: true, confirmed: time.Now().Add(-since), tries: 1}
}

// failing is the same where its author is to be told that.
func failing(l *Launcher, since time.Duration, why string) *launch {
	f := inFlight(l, since)
	f.fault = &prefect.AuthorError{Message: why}
	return f
}
