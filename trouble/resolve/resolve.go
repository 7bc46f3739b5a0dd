// Package resolve carries a case of trouble through: it judges the Job again, takes the case
// by a note on the Job, tells the run, sets its state, and disposes of the Job.
package resolve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prefect-keda/prefect-keda/backoff"
	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

const (
	// LeaseFor is how long others leave a case alone. A launcher that lives needs seconds.
	LeaseFor = 2 * time.Minute
	// minJobAge is when a Job may be deleted. Until then its name keeps a launcher that
	// was stopped right before creating it (claims.CreateWithin) from creating another, and a
	// request for it that arrives late. The age is the API server's time by our own clock, and
	// the two may differ by a minute.
	minJobAge = 2*claims.CreateWithin + time.Minute
	// judgeAgain is the pause after a change of the Job; by then the watch has told.
	judgeAgain = 5 * time.Second
	// MaxRefused caps the retry pause when Prefect rejects the state, Kubernetes rejects
	// the delete, or one of them cannot be read. It exceeds the idle timeout, so such a
	// case keeps no launcher up.
	MaxRefused = time.Hour
	// maxWhy bounds the message in a Job's note.
	maxWhy = 500
	// infraLogger is the agent's name of the logger for Kubernetes' words.
	infraLogger = "k8s-infra"
)

// Backend is the part of Prefect that is needed besides Claims, as in launcher.Backend.
type Backend interface {
	Fail(ctx context.Context, run prefect.FlowRun, f prefect.Failure) error
	Cancelled(ctx context.Context, run prefect.FlowRun, message string) error
	Pending(ctx context.Context, run prefect.FlowRun, why string) error
	HandBack(ctx context.Context, run prefect.FlowRun, at time.Time, message string) error
	Log(ctx context.Context, entries []prefect.LogEntry) error
}

// Jobs reads and writes Jobs; jobs.Cluster implements it.
type Jobs interface {
	Inspect(ctx context.Context, flowRun string) ([]*batchv1.Job, []*corev1.Pod, error)
	Get(ctx context.Context, namespace, name string) (*batchv1.Job, error)
	Note(ctx context.Context, j *batchv1.Job, n trouble.Note) error
	Release(ctx context.Context, j *batchv1.Job, n trouble.Note, e jobs.Ending) error
	Limit(ctx context.Context, j *batchv1.Job, seconds int32) error
	Remove(ctx context.Context, j *batchv1.Job) error
	Events(ctx context.Context, namespace string, uid types.UID) ([]corev1.Event, error)
	LastLines(ctx context.Context, namespace, pod, container string, previous bool, lines int) (string, error)
}

// Options of a Resolver are the launcher's.
type Options struct {
	// Name is the launcher's.
	Name  string
	Scope prefect.Scope
	Rules trouble.Rules
	// DeleteFinished deletes failed Jobs once their run was told, unless KeepFailed is
	// set. Jobs that succeeded without a time to live get JobTTL.
	DeleteFinished, KeepFailed bool
	JobTTL                     time.Duration
	// LogLines is how many lines of a failed container's log its run is told.
	LogLines int
	// NotOurs is the pause when Prefect does not know a Job's run, or when the run is for
	// launchers with another scope: long enough to keep this launcher from staying up.
	NotOurs time.Duration
}

// Resolver carries cases of trouble through.
type Resolver struct {
	Options
	Backend Backend
	Jobs    Jobs
	Claims  claims.Claims
	Logger  *slog.Logger
	// Line adds a line to a flow run's log, beside the work.
	Line func(logger, flowRun string, level prefect.LogLevel, message string)
	// Count counts runs that Failed or were HandedBack, whatever happened to the Job.
	Count        func(What)
	Troubles     *prometheus.CounterVec // by kind
	LinesDropped prometheus.Counter
}

// Case is a Job in trouble, or a run without its Job, as in the plan.
type Case struct {
	FlowRun        string
	Namespace, Job string
	Finding        trouble.Finding
}

// What is the outcome of a case, as a metric's label.
type What string

// The outcomes. An empty one means that Result.Err says more.
const (
	Told       What = "told"
	Removed    What = "removed"
	Ignored    What = "ignored"
	Failed     What = "failed"
	HandedBack What = "handed_back"
	Overtaken  What = What(claims.Overtaken)
	Broken     What = What(claims.Broken)
)

// Result is the outcome of a case with its circumstances.
type Result struct {
	What What
	// Run and Finding are the last ones read and judged. Run has at least its ID.
	Run     prefect.FlowRun
	Finding trouble.Finding
	// Reason is what the run was told.
	Reason string
	// Backoff is the pause until the Job is judged again.
	Backoff time.Duration
	// Err is the failure and Of the upstream that failed. An error of package claims
	// leaves the decision to the caller.
	Err error
	Of  claims.Upstream
	// Orphan: the run of the Job does not exist.
	Orphan bool
}

// patient is a Job in trouble with its run and pods, as last read.
type patient struct {
	run       prefect.FlowRun
	namespace string
	jobName   string
	finding   trouble.Finding
	// confirmed is when the run was read.
	confirmed time.Time
	job       *batchv1.Job
	pods      []*corev1.Pod
	note      trouble.Note
	// missing is why the pods are not known.
	missing error
	// reason is what the run was told.
	reason string
}

// isAbout reports whether the case is about the Job. A claim of an older release may lack
// the namespace.
func (p *patient) isAbout(j *batchv1.Job) bool {
	return j.Name == p.jobName && (p.namespace == "" || j.Namespace == p.namespace)
}

func (p *patient) over(what What, pause time.Duration) Result {
	return Result{What: what, Run: p.run, Finding: p.finding, Reason: p.reason, Backoff: pause}
}

// broke is the result of a case that failed.
func (p *patient) broke(err error, of claims.Upstream, pause time.Duration) Result {
	result := p.over(Broken, pause)
	result.Err, result.Of = err, of
	return result
}

// ended is the result of a case that ends with an error of package claims.
func (p *patient) ended(err error, pause time.Duration) Result {
	result := p.over("", pause)
	result.Err = err
	return result
}

// Resolve handles a Job in trouble. A launcher takes the case by writing its name on the
// unchanged Job, so only one of several goes on; if it dies, the others may take the case
// at the end of the lease. Whatever Prefect answers, the last note says when the Job has to
// be judged again, if ever.
func (r *Resolver) Resolve(ctx context.Context, c Case) Result {
	p := &patient{run: prefect.FlowRun{ID: c.FlowRun}, namespace: c.Namespace, jobName: c.Job, finding: c.Finding}
	run, at, err := r.Claims.Read(ctx, c.FlowRun)
	switch {
	case errors.Is(err, prefect.ErrNotFound):
		result := p.over(Ignored, r.NotOurs)
		result.Orphan = true
		return result
	case err != nil:
		return p.ended(err, 0)
	case !r.Scope.Takes(run.Place):
		return p.over(Ignored, r.NotOurs)
	}
	p.run, p.confirmed = run, at
	if p.finding.Kind == trouble.Lasting {
		return r.limit(ctx, p)
	}
	switch found, err := r.examine(ctx, p); {
	case err != nil:
		return p.broke(err, "", claims.HandBackDelay)
	case !found && p.finding.Kind == trouble.JobGone:
		return r.tellJobGone(ctx, p)
	case !found:
		return p.over(Overtaken, judgeAgain)
	}
	now := time.Now()
	p.note = trouble.NoteOf(p.job)
	p.note.By, p.note.Until = r.Name, now.Add(LeaseFor)
	switch err := claims.Bounded(ctx, func(ctx context.Context) error { return r.Jobs.Note(ctx, p.job, p.note) }); {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return p.over(Overtaken, judgeAgain)
	case err != nil:
		return p.broke(err, "", claims.HandBackDelay)
	}
	// A launcher that was stopped for longer may have lost the case to another.
	ctx, cancel := context.WithDeadline(ctx, now.Add(LeaseFor/2))
	defer cancel()
	return r.treat(ctx, p)
}

// examine asks Kubernetes and judges the Job again. It finds nothing if nothing is left to
// do, or not yet.
func (r *Resolver) examine(ctx context.Context, p *patient) (found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, claims.CallTimeout)
	defer cancel()
	jobs, pods, err := r.Jobs.Inspect(ctx, p.run.ID)
	i := slices.IndexFunc(jobs, p.isAbout)
	if err != nil && (i < 0 || !canDoWithoutPods(jobs[i], time.Now())) {
		return false, err
	}
	if p.finding.Kind == trouble.JobGone {
		p.finding = jobGone(p, jobs, pods, r.Rules)
		if i < 0 || p.finding.Kind == "" || !endedAdopted(jobs[i], p.run) {
			return false, nil
		}
		p.job, p.pods = jobs[i], trouble.PodsOf(jobs[i], pods)
		return true, nil
	}
	if i < 0 {
		return false, nil
	}
	p.job, p.pods, p.missing = jobs[i], trouble.PodsOf(jobs[i], pods), err
	now := time.Now()
	is := prefect.JobRun{ID: p.run.ID, Phase: p.run.State.Phase, StateAt: p.run.StateAt, NeverBegan: p.finding.Unbegun && p.run.State.Phase == prefect.Cancelling}
	p.finding, found = trouble.JudgeEnding(p.job, is, r.Rules)
	if !found || p.finding.From.After(now) {
		p.finding, found = trouble.Judge(p.job, p.pods, r.Rules)
	}
	if !found {
		p.finding, found = trouble.Chore(p.job, p.pods, r.Rules)
	}
	if !found || p.finding.From.After(now) || p.finding.Kind == trouble.Lasting {
		return false, nil
	}
	if !p.finding.Kind.IsChore() && isSuperseded(p.job, p.run, jobs) {
		// The run has another Job now, so nobody is told of this one.
		p.finding.Kind = superseded
	}
	return true, nil
}

// withoutPods is how long to wait for pods that cannot be listed.
const withoutPods = 10 * time.Minute

// canDoWithoutPods reports whether to judge a Job by Kubernetes' own verdict alone, because
// its pods could not be listed for long.
func canDoWithoutPods(j *batchv1.Job, now time.Time) bool {
	ended := trouble.GivenUpAt(j)
	return !ended.IsZero() && now.Sub(ended) >= withoutPods
}

// treat acts on a case that is ours.
func (r *Resolver) treat(ctx context.Context, p *patient) Result {
	phase := p.run.State.Phase
	switch {
	case p.finding.Kind == trouble.Over:
		return r.tellWhatFollowed(ctx, p)
	case p.finding.Kind == trouble.Sidecar && phase.IsFinished():
		// Nobody needs to know any more, and the flow is about to end.
		p.note.By, p.note.Until, p.note.Told = "", time.Time{}, trouble.Sidecar
		return r.released(ctx, p, Ignored, jobs.Ending{})
	case p.finding.Kind == trouble.Spent, p.finding.Kind == superseded, phase.IsFinished():
		return r.dispose(ctx, p, Removed)
	case phase.IsWaiting() && !trouble.CanTake(p.job, p.pods):
		return r.dispose(ctx, p, Removed) // it is due again, with another Job
	case phase.IsWaiting():
		// It is due again, perhaps much later, and may go on with this Job.
		p.note.By, p.note.Until = "", time.Now().Add(max(LeaseFor, min(time.Until(p.run.State.StartTime), MaxRefused)))
		return r.released(ctx, p.forgiving(time.Now()), Ignored, jobs.Ending{})
	case p.isOfSupersededAttempt():
		p.note.By, p.note.Until = "", time.Time{}
		return r.released(ctx, p.forgiving(p.run.StateAt), Ignored, jobs.Ending{})
	case p.isTakenByAnother():
		p.note.By, p.note.Until = "", time.Time{}
		return r.released(ctx, p.forgiving(time.Now()), Ignored, jobs.Ending{})
	case p.finding.Kind == trouble.Outlived:
		// Prefect does not know yet that the flow has ended, or it waits for a retry.
		p.note = postponed(p.note)
		return r.released(ctx, p, Ignored, jobs.Ending{})
	case p.finding.Kind == trouble.Cancelling:
		return r.cancelNow(ctx, p)
	case endedAdopted(p.job, p.run) && p.run.HandedBack < maxHandBacks:
		switch began, err := r.wasBegun(ctx, p); {
		case err != nil:
			return p.ended(err, judgeAgain)
		case !began:
			return r.handBackUnbegun(ctx, p)
		case p.finding.Kind == trouble.JobGone:
			return r.tellJobGone(ctx, p)
		}
	case p.finding.Unbegun && phase == prefect.Claimed && p.run.HandedBack < maxHandBacks:
		return r.handBackUnbegun(ctx, p)
	case p.finding.Unbegun && phase == prefect.Claimed:
		p.finding.Message += fmt.Sprintf("; none began the flow, though the run was put back in the queue %d times", p.run.HandedBack)
	}
	r.Troubles.WithLabelValues(string(p.finding.Kind)).Inc()
	lines, after := r.story(ctx, p)
	err := r.tell(ctx, lines)
	if err == nil {
		p.note = after
	}
	if !p.finding.Final {
		if err != nil {
			return r.refusedByPrefect(ctx, p, err)
		}
		r.tellPending(ctx, p)
		p.note.By, p.note.Until, p.note.Tries, p.note.Told = "", time.Time{}, 0, p.finding.Kind
		p.note.Why = job.Shortened(p.finding.Message, maxWhy)
		return r.released(ctx, p, Told, jobs.Ending{})
	}
	// The run fails even without its story: the state's message has the gist.
	// After a failed pod the Job ends, or another pod comes.
	able := p.finding.Kind != trouble.Failed && trouble.CanTake(p.job, p.pods)
	if err := r.stillUnfinished(ctx, p, able); err != nil {
		return p.ended(err, judgeAgain)
	}
	return r.end(ctx, p, func() {})
}

// dispose removes the Job or keeps it, as configured. It stops a Job that is kept or too
// young to be removed, so that no pod starts beside those of a later attempt.
func (r *Resolver) dispose(ctx context.Context, p *patient, what What) Result {
	isFailure := !slices.Contains([]trouble.Kind{trouble.Cancelling, trouble.Cancelled, trouble.Outlived, superseded}, p.finding.Kind)
	p.note.By, p.note.Until = "", time.Time{}
	if p.finding.Kind != trouble.Spent {
		p.note.Tries = 0
	}
	stop := !trouble.Finished(p.job)
	if p.finding.Kind != trouble.Spent && (!r.DeleteFinished || isFailure && r.KeepFailed) {
		p.note.Done = true
		return r.released(ctx, p, what, jobs.Ending{Stop: stop, Keep: isFailure && r.KeepFailed})
	}
	if ripe := p.job.CreationTimestamp.Add(minJobAge); ripe.After(time.Now()) {
		p.note.Spent, p.note.Until = true, ripe
		return r.released(ctx, p, what, jobs.Ending{Stop: stop})
	}
	if err := claims.Bounded(ctx, func(ctx context.Context) error { return r.Jobs.Remove(ctx, p.job) }); err != nil {
		// Even if no try ever succeeds, the run is done and nothing runs.
		p.note.Spent = true
		return r.leftForLater(ctx, p, err, jobs.Ending{Stop: stop})
	}
	return p.over(what, judgeAgain)
}

// released ends the lease with a note for the next launcher.
func (r *Resolver) released(ctx context.Context, p *patient, what What, end jobs.Ending) Result {
	err := claims.Bounded(ctx, func(ctx context.Context) error { return r.Jobs.Release(ctx, p.job, p.note, end) })
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		// The lease keeps the others away for as long.
		return p.broke(err, "", LeaseFor)
	}
	return p.over(what, judgeAgain)
}

// postponed is the note after a failed try; each pause is longer.
func postponed(n trouble.Note) trouble.Note {
	n.By, n.Until = "", time.Now().Add(backoff.Growing{First: time.Minute, Longest: MaxRefused}.After(n.Tries+1))
	n.Tries++
	return n
}

// leftForLater postpones a failed case.
func (r *Resolver) leftForLater(ctx context.Context, p *patient, err error, end jobs.Ending) Result {
	p.note = postponed(p.note)
	result := r.released(ctx, p, Broken, end)
	result.Err = errors.Join(err, result.Err)
	return result
}

// refusedByPrefect does the same after an error of Prefect.
func (r *Resolver) refusedByPrefect(ctx context.Context, p *patient, err error) Result {
	result := r.leftForLater(ctx, p, err, jobs.Ending{})
	result.Of = claims.Prefect
	return result
}

// jobGone is that finding, or none if the cluster still executes the run.
func jobGone(p *patient, jobs []*batchv1.Job, pods []*corev1.Pod, r trouble.Rules) trouble.Finding {
	if !trouble.NothingLeft(jobs, pods, r) {
		return trouble.Finding{}
	}
	f := trouble.Finding{Kind: trouble.JobGone, Final: true}
	if p.finding.Unbegun && p.run.State.Phase == prefect.Cancelling {
		f.Message = "The run was cancelled before a pod began it, and has no Job"
		return f
	}
	f.Message = fmt.Sprintf("Kubernetes Error: Job %s was deleted while its run was %s", p.jobName, p.run.State.Name)
	if i := slices.IndexFunc(jobs, p.isAbout); i >= 0 {
		what := "Job " + p.jobName
		if !trouble.Finished(jobs[i]) {
			what = "the flow of " + what // another container keeps its pod
		}
		f.Message = fmt.Sprintf("Kubernetes Error: %s has ended and its run is still %s, without a sign of life", what, p.run.State.Name)
	}
	return f
}

// tellJobGone fails a run that the cluster no longer executes. Without a Job there is no
// note to take the case by, so launchers come at different times (see plan).
func (r *Resolver) tellJobGone(ctx context.Context, p *patient) Result {
	const pause = time.Minute // by then Prefect has been asked again
	// A claimed run without a Job gets one, unless Prefect knows of the one that it had.
	if !p.run.State.Phase.IsRunning() && !(p.run.State.Phase == prefect.Claimed && p.run.HasJob) {
		return p.over(Overtaken, pause)
	}
	// The lists may have taken longer than the time allowed between reading and failing.
	if err := r.stillUnfinished(ctx, p, false); err != nil {
		return p.ended(err, pause)
	}
	p.reason = p.finding.Message
	what, err := r.judge(ctx, p)
	if err != nil {
		return p.broke(err, claims.Prefect, pause)
	}
	r.Line(infraLogger, p.run.ID, prefect.Error, p.reason)
	r.Troubles.WithLabelValues(string(trouble.JobGone)).Inc()
	return p.over(what, pause)
}
