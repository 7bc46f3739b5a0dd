package launcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

const (
	// leaseFor is how long a launcher that began to see to a Job is left alone with
	// it. A live one needs seconds.
	leaseFor = 2 * time.Minute
	// minJobAge before a Job is deleted: its name stops launchers that were stopped
	// right before creating it (createWithin), whatever becomes of the run.
	minJobAge = 2 * createWithin
	// lookAgain is when to look again at a Job that changed under our hands.
	lookAgain = 5 * time.Second
	// maxRefused is the longest pause between two tries with a Prefect that will
	// not have the run failed, or a Kubernetes that does not delete its Job, or
	// either of which cannot be read; longer than the idle timeout, so that it keeps
	// no launcher awake.
	maxRefused = time.Hour
	// infraLogger is the logger's name the agent used for what Kubernetes says.
	infraLogger = "k8s-infra"
)

// patient is a Job in trouble as it was just read.
type patient struct {
	job     *batchv1.Job
	pods    []*corev1.Pod
	run     prefect.FlowRun
	finding trouble.Finding
	note    trouble.Note
	// missing is why the pods are not known.
	missing error
}

// resolve sees to a Job in trouble. A launcher takes the case by writing its name
// on the Job as it was read, so of several one goes on; who dies leaves the
// case to the others when the lease is over. Whatever Prefect answers, a note
// says in the end when the Job wants to be seen to again, if ever.
func (l *Launcher) resolve(ctx context.Context, e *errand) outcome {
	if o, ok := l.readRunOfJob(ctx, e); !ok {
		return o
	}
	if e.Finding.Kind == trouble.Lasting {
		return l.limit(ctx, e)
	}
	p, err := l.examine(ctx, e)
	switch {
	case err != nil:
		return outcome{errand: e, result: broken, err: err, hold: time.Now().Add(handBackDelay)}
	case p == nil && e.Finding.Kind == trouble.JobGone:
		return l.tellJobGone(ctx, e)
	case p == nil:
		return outcome{errand: e, result: overtaken, hold: time.Now().Add(lookAgain)}
	}
	now := time.Now()
	p.note = trouble.NoteOf(p.job)
	p.note.By, p.note.Until = l.Name, now.Add(leaseFor)
	if err := l.bounded(ctx, func(ctx context.Context) error { return l.jobs.note(ctx, p.job, p.note) }); err != nil {
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			return outcome{errand: e, result: overtaken, hold: time.Now().Add(lookAgain)}
		}
		return outcome{errand: e, result: broken, err: err, hold: time.Now().Add(handBackDelay)}
	}
	// Whoever was stopped for longer finds that the case is no longer its own.
	ctx, cancel := context.WithDeadline(ctx, now.Add(leaseFor/2))
	defer cancel()
	return l.treat(ctx, e, p)
}

// readRunOfJob reads the run and leaves alone what is none of our business.
func (l *Launcher) readRunOfJob(ctx context.Context, e *errand) (outcome, bool) {
	run, o, ok := l.read(ctx, e)
	switch {
	case errors.Is(o.err, prefect.ErrNotFound):
		l.log.WarnContext(ctx, "the Job's flow run does not exist; the Job is left alone", "job", e.Job, "flow_run", e.Run.ID)
		return outcome{errand: e, result: ignored, hold: time.Now().Add(l.notOursFor())}, false
	case !ok:
		return o, false
	case !prefect.LabelsMatch(l.Labels, run.Labels):
		return outcome{errand: e, result: ignored, hold: time.Now().Add(l.notOursFor())}, false
	}
	e.Run = run
	return outcome{}, true
}

// notOursFor is how long a Job is not asked about again whose run is unknown to
// Prefect or for launchers with other labels: too long to keep this one awake.
func (l *Launcher) notOursFor() time.Duration { return max(10*time.Minute, 2*l.IdleTimeout) }

// examine judges the Job anew, by what Kubernetes says now. It returns nil when
// nothing is to be done (any more, or yet).
func (l *Launcher) examine(ctx context.Context, e *errand) (*patient, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	jobs, pods, err := l.jobs.inspect(ctx, e.Run.ID)
	i := slices.IndexFunc(jobs, func(j *batchv1.Job) bool { return j.Name == e.Job })
	if err != nil && (i < 0 || !canDoWithoutPods(jobs[i], time.Now())) {
		return nil, err
	}
	if e.Finding.Kind == trouble.JobGone {
		e.Finding = jobGone(e, jobs, pods, l.Rules)
		return nil, nil
	}
	if i < 0 {
		return nil, nil
	}
	p := &patient{job: jobs[i], pods: trouble.PodsOf(jobs[i], pods), run: e.Run, missing: err}
	now, found := time.Now(), false
	p.finding, found = trouble.JudgeEnding(p.job, e.Run.State.Type, e.Run.StateAt, l.Rules)
	if !found || p.finding.From.After(now) {
		p.finding, found = trouble.Judge(p.job, p.pods, l.Rules)
	}
	if !found {
		p.finding, found = trouble.Chore(p.job, p.pods)
	}
	if !found || p.finding.From.After(now) || p.finding.Kind == trouble.Lasting {
		return nil, nil
	}
	if !p.finding.Kind.IsChore() && isSuperseded(p.job, e.Run, jobs) {
		// Another Job serves the run now; what became of this one is no news.
		p.finding.Kind = superseded
	}
	return p, nil
}

// withoutPods is how long pods that cannot be listed are waited for.
const withoutPods = 10 * time.Minute

// canDoWithoutPods: Kubernetes' own verdict on the Job is all there is to judge by
// where pods may not, or cannot, be listed for long.
func canDoWithoutPods(j *batchv1.Job, now time.Time) bool {
	ended := trouble.GivenUpAt(j)
	return !ended.IsZero() && now.Sub(ended) >= withoutPods
}

// treat acts on a case that is ours.
func (l *Launcher) treat(ctx context.Context, e *errand, p *patient) outcome {
	e.Finding = p.finding
	state := p.run.State.Type
	switch {
	case p.finding.Kind == trouble.Over:
		return l.tellWhatFollowed(ctx, e, p)
	case p.finding.Kind == trouble.Sidecar && state.IsFinished():
		// Nobody need be told any more, and the flow is about to end.
		p.note.By, p.note.Until, p.note.Told = "", time.Time{}, trouble.Sidecar
		return l.released(ctx, e, p, ignored, ending{})
	case p.finding.Kind == trouble.Spent, p.finding.Kind == superseded, state.IsFinished():
		return l.dispose(ctx, e, p, removed)
	case state.IsScheduled() && !trouble.CanTake(p.job, p.pods):
		return l.dispose(ctx, e, p, removed) // it is due again, with another Job
	case state.IsScheduled():
		// It is due again, perhaps much later, and may go on with this Job.
		p.note.By, p.note.Until = "", time.Now().Add(max(leaseFor, min(time.Until(p.run.State.StartTime), maxRefused)))
		return l.released(ctx, e, p.forgiving(time.Now()), ignored, ending{})
	case p.isOfEarlierAttempt():
		p.note.By, p.note.Until = "", time.Time{}
		return l.released(ctx, e, p.forgiving(p.run.StateAt), ignored, ending{})
	case p.isTakenByAnother():
		p.note.By, p.note.Until = "", time.Time{}
		return l.released(ctx, e, p.forgiving(time.Now()), ignored, ending{})
	case p.finding.Kind == trouble.Outlived:
		// Prefect does not know yet that the flow has ended, or it waits for a retry.
		p.note = postponed(p.note)
		return l.released(ctx, e, p, ignored, ending{})
	case p.finding.Kind == trouble.Cancelling:
		return l.cancelNow(ctx, e, p)
	case p.finding.Unbegun && state == prefect.Submitted && p.run.Returned < maxReturns:
		return l.returnUnbegun(ctx, e, p)
	case p.finding.Unbegun && state == prefect.Submitted:
		p.finding.Message += fmt.Sprintf("; none began the flow, though the run was put back in the queue %d times", p.run.Returned)
	}
	l.metrics.troubles.WithLabelValues(string(p.finding.Kind)).Inc()
	lines, after := l.story(ctx, p)
	err := l.tell(ctx, lines)
	if err == nil {
		p.note = after
	}
	if !p.finding.Final {
		if err != nil {
			return l.refusedByPrefect(ctx, e, p, err)
		}
		p.note.By, p.note.Until, p.note.Tries, p.note.Told = "", time.Time{}, 0, p.finding.Kind
		return l.released(ctx, e, p, told, ending{})
	}
	// A story that could not be told is no reason not to fail the run: the state's
	// message has the gist of it.
	// After a pod that failed the Job ends, or another pod comes.
	able := p.finding.Kind != trouble.Failed && trouble.CanTake(p.job, p.pods)
	if o, ok := l.stillUnfinished(ctx, e, able); !ok {
		return o
	}
	if err := l.failNow(ctx, e, p.finding.Message); err != nil {
		return l.refusedByPrefect(ctx, e, p, err)
	}
	l.metrics.totals.failed.Add(1)
	e.failure = p.finding.Message
	return l.dispose(ctx, e, p, failed)
}

// failNow sets the run Failed.
func (l *Launcher) failNow(ctx context.Context, e *errand, message string) error {
	return l.inTime(ctx, e, func(ctx context.Context) error { return l.backend.Fail(ctx, e.Run, message) })
}

// inTime writes the run's state, unless it was read too long ago: the server would
// change a run that has finished or begun anew since (prefect1-server-facts c).
func (l *Launcher) inTime(ctx context.Context, e *errand, write func(context.Context) error) error {
	ctx, cancel := e.setting(ctx)
	defer cancel()
	return write(ctx)
}

// cancelNow sets a run Cancelled whose flow does not react, and then stops its Job.
// If we die in between, it is a cancelled run's Job, which is stopped as well.
func (l *Launcher) cancelNow(ctx context.Context, e *errand, p *patient) outcome {
	message := p.finding.Message
	if err := l.inTime(ctx, e, func(ctx context.Context) error { return l.backend.Cancel(ctx, e.Run, message) }); err != nil {
		return l.refusedByPrefect(ctx, e, p, err)
	}
	l.lines.addAs(infraLogger, e.Run.ID, prefect.Warning, message)
	l.metrics.troubles.WithLabelValues(string(p.finding.Kind)).Inc()
	return l.dispose(ctx, e, p, removed)
}

// stillUnfinished reads the run right before it is failed: collecting the story
// took its time, and a run that has finished meanwhile must stay as it is. The
// lease makes another look come by itself. able: the Job may yet take the run, and so
// stands for it though its claim came over a restart.
func (l *Launcher) stillUnfinished(ctx context.Context, e *errand, able bool) (outcome, bool) {
	isClaim := e.Run.State.Type == prefect.Submitted && e.Run.Claim != nil // and may have come late
	if !isClaim && age(e.confirmed, time.Now()) <= fresh {
		return outcome{}, true
	}
	before := e.Run.Version
	if isClaim {
		e.claim = *e.Run.Claim
	}
	h, o, ok := l.history(ctx, e)
	run := h.Run
	switch {
	case !ok:
		return o, false
	case l.isClaim(run, e.claim.Attempt) && h.IsLate() && (h.Reached.Type.IsFinished() || h.Reached.Type.IsScheduled() && !able):
		o = l.restore(ctx, e, h)
		o.hold = time.Now().Add(lookAgain)
		return o, false
	}
	e.Run = run
	if run.Version != before || run.State.Type.IsFinished() {
		return outcome{errand: e, result: overtaken, hold: time.Now().Add(lookAgain)}, false
	}
	return outcome{}, true
}

// dispose removes the Job or keeps it, as configured. One that is kept, and one
// that is too young to be removed, is ended, so that none of its pods comes to
// life beside those of a later attempt.
func (l *Launcher) dispose(ctx context.Context, e *errand, p *patient, result string) outcome {
	isFailure := !slices.Contains([]trouble.Kind{trouble.Cancelling, trouble.Cancelled, trouble.Outlived, superseded}, p.finding.Kind)
	p.note.By, p.note.Until = "", time.Time{}
	if p.finding.Kind != trouble.Spent {
		p.note.Tries = 0
	}
	stop := !trouble.Finished(p.job)
	if p.finding.Kind != trouble.Spent && (!l.DeleteFinished || isFailure && l.KeepFailed) {
		p.note.Done = true
		return l.released(ctx, e, p, result, ending{stop: stop, keep: isFailure && l.KeepFailed})
	}
	if ripe := p.job.CreationTimestamp.Add(minJobAge); ripe.After(time.Now()) {
		p.note.Spent, p.note.Until = true, ripe
		return l.released(ctx, e, p, result, ending{stop: stop})
	}
	if err := l.bounded(ctx, func(ctx context.Context) error { return l.jobs.remove(ctx, p.job) }); err != nil {
		// If this is for good, the run is done with all the same and nothing runs on.
		p.note.Spent = true
		p.note = postponed(p.note)
		o := l.released(ctx, e, p, broken, ending{stop: stop})
		o.err = errors.Join(err, o.err)
		return o
	}
	return outcome{errand: e, result: result, hold: time.Now().Add(lookAgain)}
}

// released leaves the case with a note for whoever comes next.
func (l *Launcher) released(ctx context.Context, e *errand, p *patient, result string, end ending) outcome {
	hold := time.Now().Add(lookAgain) // until the watch has told
	err := l.bounded(ctx, func(ctx context.Context) error { return l.jobs.release(ctx, p.job, p.note, end) })
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		// The lease keeps the others away as long.
		return outcome{errand: e, result: broken, err: err, hold: time.Now().Add(leaseFor)}
	}
	return outcome{errand: e, result: result, hold: hold}
}

// postponed is the note when something went wrong, for later, and each time for
// longer.
func postponed(n trouble.Note) trouble.Note {
	pause := maxRefused
	if n.Tries < 6 {
		pause = time.Minute << n.Tries
	}
	n.By, n.Until = "", time.Now().Add(pause)
	n.Tries++
	return n
}

// refusedByPrefect leaves the case for later.
func (l *Launcher) refusedByPrefect(ctx context.Context, e *errand, p *patient, err error) outcome {
	p.note = postponed(p.note)
	o := l.released(ctx, e, p, broken, ending{})
	o.err, o.blame = errors.Join(err, o.err), prefectAPI
	return o
}

// jobGone is that finding, or none when something of the run goes on.
func jobGone(e *errand, jobs []*batchv1.Job, pods []*corev1.Pod, r trouble.Rules) trouble.Finding {
	if !trouble.NothingLeft(jobs, pods, r) {
		return trouble.Finding{}
	}
	f := trouble.Finding{Kind: trouble.JobGone, Final: true}
	f.Message = fmt.Sprintf("Kubernetes Error: Job %s was deleted while its run was %s", e.Job, e.Run.State.Type)
	if i := slices.IndexFunc(jobs, func(j *batchv1.Job) bool { return j.Name == e.Job }); i >= 0 {
		what := "Job " + e.Job
		if !trouble.Finished(jobs[i]) {
			what = "the flow of " + what // another container keeps its pod
		}
		f.Message = fmt.Sprintf("Kubernetes Error: %s has ended and its run is still %s, without a sign of life", what, e.Run.State.Type)
	}
	return f
}

// tellJobGone fails a run of which nothing goes on in the cluster. There is no
// Job to take the case on, so launchers come at different times (see plan).
func (l *Launcher) tellJobGone(ctx context.Context, e *errand) outcome {
	hold := time.Now().Add(time.Minute) // by then Prefect has been asked again
	if !e.Run.State.Type.IsRunning() {
		return outcome{errand: e, result: overtaken, hold: hold}
	}
	// The lists may have taken all the time there is between reading and failing.
	if o, ok := l.stillUnfinished(ctx, e, false); !ok {
		o.hold = hold
		return o
	}
	e.failure = e.Finding.Message
	if err := l.failNow(ctx, e, e.failure); err != nil {
		return outcome{errand: e, result: broken, err: err, blame: prefectAPI, hold: hold}
	}
	l.lines.addAs(infraLogger, e.Run.ID, prefect.Error, e.failure)
	l.metrics.totals.failed.Add(1)
	l.metrics.troubles.WithLabelValues(string(trouble.JobGone)).Inc()
	return outcome{errand: e, result: failed, hold: hold}
}

func (l *Launcher) bounded(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return call(ctx)
}
