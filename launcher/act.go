package launcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// fresh is how old a run's state may be when it is claimed. A claim from an
	// older read could resurrect a run that was cancelled or has finished: the
	// server would take it (prefect1-server-facts c).
	fresh = time.Second
	// claimWithin bounds when the claim, or any other write of a state, is sent, from
	// that read on: a launcher that was stopped in between does not send it any more.
	// It is less than a pod needs to start and end. A slow server that takes a claim
	// all the same is found out by reading the run back, or at the next look at the
	// claims.
	claimWithin = 3 * time.Second
	// answerWithin is how long the answer to such a write is awaited, if the backend's
	// own time-out is not shorter. Giving up sooner would gain nothing: the server goes
	// on and applies what it was sent.
	answerWithin = time.Minute
	// confirmedFor is how long a won claim, or a read of it, lets us create the Job
	// without looking again; createWithin bounds the request itself, from the same
	// moment on. Finished Jobs stay for at least five minutes (job.MinTTLSeconds),
	// so a name this side of createWithin is still taken if it ever was.
	confirmedFor = 15 * time.Second
	createWithin = 30 * time.Second
	// callTimeout of everything else.
	callTimeout = 15 * time.Second
	// glanceTimeout of what we can do without.
	glanceTimeout = 5 * time.Second
	// notNow is when to look again at a run that could not be claimed, unless the
	// backend says when.
	notNow = 5 * time.Second
	// maxBatches of a run's tasks are claimed in a row; its pod takes up what is left
	// by itself.
	maxBatches = 100
	// beatRetry is when a heartbeat that failed is sent again.
	beatRetry = 30 * time.Second
	// handBackDelay gives the cause some time to pass. Where the operator has to see to
	// it, it is doubled each time up to maxHandBack: each time makes two new versions.
	handBackDelay = 30 * time.Second
	maxHandBack   = 5 * time.Minute
)

// perform does one try. It is safe to die anywhere in it, and to be stopped
// anywhere in it for any time.
func (l *Launcher) perform(ctx context.Context, e *errand) outcome {
	e.tries++
	e.sent = time.Time{}
	switch e.Kind {
	case Heartbeat:
		return l.heartbeat(ctx, e)
	case Resolve:
		return l.resolve(ctx, e)
	case Review:
		return l.review(ctx, e)
	}
	switch {
	case e.tries > 1:
	case e.Kind == Repair:
		// Somebody claimed it, which makes finishing it anybody's business. Whether
		// that still is so is read below, always: nothing is confirmed.
		e.claim, e.claimed = *e.Run.Claim, true
	default:
		e.confirmed = e.Run.ReadAt
	}
	switch {
	case e.failure != "" && e.claimed:
		return l.fail(ctx, e)
	case e.handBack != "":
		return l.giveBack(ctx, e)
	case e.claimed && e.Kind != Relaunch:
		return l.launch(ctx, e)
	}
	return l.take(ctx, e)
}

// take claims the run, or for a Relaunch creates the Job that is its claim.
func (l *Launcher) take(ctx context.Context, e *errand) outcome {
	if l.stopping.Load() {
		return outcome{errand: e, result: left}
	}
	if known := l.jobs.known(e.Run.ID); e.Kind != Adopt && known.goesOn() {
		// Another launcher was here since the plan was made; the watch is quicker to
		// tell than the next look, and spares Prefect a claim.
		return outcome{errand: e, result: overtaken}
	}
	if o, ok := l.prepare(ctx, e); !ok {
		return o
	}
	if e.Run.Version > 1 {
		// It has been scheduled before, so it may have a Job that the watch has not told
		// us of. Such runs are few, so this costs one call for few.
		if o, ok := l.lookForJobs(ctx, e); !ok {
			return o
		}
	}
	e.stage.Store(atClaim)
	// Of a Running run the look brought only one of the tasks that are due.
	if e.Run.State.Type == prefect.Running || age(e.confirmed, time.Now()) > fresh {
		if o, ok := l.readAgain(ctx, e); !ok {
			return o
		}
	}
	if e.Kind == Relaunch && e.failure == "" {
		if o := l.launch(ctx, e); o.result != done && o.result != adopted {
			return o
		}
	}
	if e.Run.State.Type.IsRunning() {
		// Prefect reschedules a Running run without a sign of life for long, but not while
		// a task waits for its retry. From the claim on none does.
		if o := l.heartbeat(ctx, e); o.result != done {
			return o
		}
	}
	e.claim = l.claimOn(e)
	if o, ok := l.claim(ctx, e); !ok {
		return o
	}
	if e.failure == "" && e.Run.State.Type == prefect.Running {
		l.claimRest(ctx, e)
	}
	e.stage.Store(afterClaim)
	signal(l.freed)
	if age(e.confirmed, time.Now()) > claimWithin || e.failure == "" && e.job != nil && job.NameVaries(e.Run, e.job.Name) {
		// Between a claim and an answer that took so long the run may have ended with
		// another's claim, and claims may name the Job differently: the history tells.
		e.confirmed = time.Time{}
	}
	switch {
	case e.failure != "":
		return l.fail(ctx, e)
	case e.Kind == Adopt:
		l.metrics.totals.adopted.Add(1)
		return outcome{errand: e, result: adopted}
	case e.Kind == Relaunch:
		return outcome{errand: e, result: done}
	}
	return l.launch(ctx, e)
}

// claimOn is the claim of what is to be done, with the Job to adopt or to create.
func (l *Launcher) claimOn(e *errand) prefect.Claim {
	c := prefect.Claim{Launcher: l.Name, Namespace: l.Namespace, NamespaceUID: l.jobs.namespaceUID(), Attempt: e.Run.Attempt(), Job: e.Job}
	if c.Job == "" && e.job != nil {
		c.Job = e.job.Name
	}
	return c
}

// prepare renders the Job. What is wrong with it for good is told once the run
// is ours, so that one launcher tells it.
func (l *Launcher) prepare(ctx context.Context, e *errand) (outcome, bool) {
	if e.job != nil || e.failure != "" || e.Kind == Adopt {
		return outcome{}, true
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	j, err := l.renderer.Render(ctx, e.Run)
	blame := none
	if err == nil {
		err, blame = l.permit(ctx, e.Run, j), kubernetesAPI
	}
	wrong := (*prefect.AuthorError)(nil)
	switch {
	case errors.As(err, &wrong):
		e.failure = wrong.Message
	case isTemplate(err):
		return l.tryLater(ctx, e, err, jobTemplate, 0), false
	case l.isAwayForLong(e.Run, err):
		e.failure = fmt.Sprintf("The job template of this run cannot be read for more than %s: %v. See that the launcher can reach it, or give another one, and start the run again", l.RetryFor, err)
	case err != nil:
		return l.tryLater(ctx, e, fmt.Errorf("render the Job of flow run %s: %w", e.Run.ID, err), blame, retryAfter(err)), false
	default:
		if o, ok := l.tried(ctx, e, j); !ok {
			return o, false
		}
		e.job = j
	}
	return outcome{}, true
}

// isTemplate: the launcher's own template is wrong or away, which no run can help.
func isTemplate(err error) bool {
	_, ok := errors.AsType[*job.TemplateError](err)
	return ok
}

// isAwayForLong: the server of the run's own template has been away for as long as a
// Job is tried, and the run has waited for as long. The agent failed such runs at
// once; waiting for ever, they would fill Cloud's queue, which hands out 25 runs.
func (l *Launcher) isAwayForLong(run prefect.FlowRun, err error) bool {
	away, ok := errors.AsType[*job.AwayError](err)
	if !ok {
		return false
	}
	now, waits := time.Now(), run.StateAt
	if due := run.Due(); due.After(waits) {
		waits = due
	}
	return age(away.Since, now) >= l.RetryFor && age(waits, now) >= l.RetryFor
}

// lookForJobs decides again what to do, by Jobs just listed.
func (l *Launcher) lookForJobs(ctx context.Context, e *errand) (outcome, bool) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	found, err := l.jobs.list(ctx, e.Run.ID)
	if err != nil {
		return outcome{errand: e, result: broken, err: err, blame: kubernetesAPI, hold: time.Now().Add(notNow)}, false
	}
	kind, name := dueAction(e.Run, found, l.Namespace, l.jobs.namespaceUID())
	if kind == 0 {
		return outcome{errand: e, result: later, hold: time.Now().Add(notNow)}, false
	}
	e.Kind, e.Job = kind, name
	if kind == Adopt {
		e.failure = "" // it has its Job; that another could not be rendered does not matter
	}
	return l.prepare(ctx, e)
}

// readAgain makes sure that the run is as it was when we decided.
func (l *Launcher) readAgain(ctx context.Context, e *errand) (outcome, bool) {
	began := time.Now()
	run, o, ok := l.read(ctx, e)
	e.sent, e.heard, e.answered = began, time.Now(), ok
	if !ok {
		return o, false
	}
	if !run.Claimable(time.Now()) || run.Attempt() != e.Run.Attempt() || !run.RetriesIn(l.Namespace, l.jobs.namespaceUID()) {
		return outcome{errand: e, result: overtaken}, false
	}
	e.Run = run
	return outcome{}, true
}

func (l *Launcher) read(ctx context.Context, e *errand) (prefect.FlowRun, outcome, bool) {
	var run prefect.FlowRun
	o, ok := l.ask(ctx, e, func(ctx context.Context) (err error) {
		run, err = l.backend.FlowRun(ctx, e.Run.ID)
		return err
	})
	return run, o, ok
}

// history reads the run with what was written since the attempt of its claim.
func (l *Launcher) history(ctx context.Context, e *errand) (prefect.History, outcome, bool) {
	var h prefect.History
	o, ok := l.ask(ctx, e, func(ctx context.Context) (err error) {
		h, err = l.backend.History(ctx, e.Run.ID, e.claim.Attempt)
		return err
	})
	return h, o, ok
}

// ask has the run's state confirmed by a read.
func (l *Launcher) ask(ctx context.Context, e *errand, read func(context.Context) error) (outcome, bool) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	began := time.Now()
	err := read(ctx)
	switch {
	case errors.Is(err, prefect.ErrNotFound):
		return outcome{errand: e, result: overtaken, err: err}, false
	case err != nil && e.claimed:
		return l.tryLater(ctx, e, err, prefectAPI, prefect.RetryAfter(err)), false
	case err != nil:
		return outcome{errand: e, result: broken, err: err, blame: prefectAPI, hold: began.Add(notNow)}, false
	}
	e.confirmed = began
	return outcome{}, true
}

// claim sends the claim and, if it is not clear what came of it, looks.
func (l *Launcher) claim(ctx context.Context, e *errand) (outcome, bool) {
	began := time.Now()
	if age(e.confirmed, began) > claimWithin {
		return outcome{errand: e, result: overtaken, err: fmt.Errorf("the run was read more than %s ago, too long to claim it; looking again", claimWithin)}, false
	}
	call, cancel := e.setting(ctx)
	defer cancel()
	call, stop := e.await(call)
	r, err := l.backend.Claim(call, e.Run, e.claim)
	if wasShown(call) {
		r, err = prefect.ClaimResult{Answer: prefect.Won, Reason: errShown.Error()}, nil
	}
	stop()
	e.sent, e.heard, e.answered = began, time.Now(), err == nil && r.Answer != prefect.Unknown
	if err != nil {
		return l.unclaimable(ctx, e, err)
	}
	l.metrics.claims.WithLabelValues(r.Answer.String()).Inc()
	switch {
	case r.Answer != prefect.Unknown:
	case r.RetryAfter > 0:
		r.Answer = prefect.NotNow // asking is what we were asked not to do; if it is ours, the next look at the claims tells
	default:
		r.Answer = l.readBack(ctx, e)
	}
	log := l.log.With("flow_run", e.Run.ID, "attempt", e.claim.Attempt, "answer", r.Answer.String(), "reason", r.Reason)
	switch r.Answer {
	case prefect.Won:
		log.DebugContext(ctx, "claimed", "job", e.claim.Job)
		e.claimed, e.confirmed = true, began
		return outcome{}, true
	case prefect.Lost:
		log.DebugContext(ctx, "not claimed")
		return outcome{errand: e, result: lost}, false
	}
	log.DebugContext(ctx, "not claimed")
	return outcome{errand: e, result: later, hold: time.Now().Add(max(notNow, r.RetryAfter)), quiet: r.RetryAfter}, false
}

// claimRest claims the tasks that a claim of one request left, each batch with a
// read of its own right before. What is left when one is not won is due at the next
// look, unless the Job's pod has taken it by then.
func (l *Launcher) claimRest(ctx context.Context, e *errand) {
	for range maxBatches {
		if l.stopping.Load() {
			return
		}
		rest := &errand{Action: e.Action}
		run, _, ok := l.read(ctx, rest)
		if !ok || run.State.Type != prefect.Running || !run.Claimable(time.Now()) {
			return
		}
		rest.Run, rest.claim = run, e.claim
		rest.claim.Attempt = run.Attempt()
		if _, ok := l.claim(ctx, rest); !ok {
			return
		}
	}
}

// setting is the context of a request that sets the run's state.
func (e *errand) setting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(prefect.WithSendBy(ctx, e.confirmed.Add(claimWithin)), answerWithin)
}

// readBack finds out what came of a claim whose answer was lost.
func (l *Launcher) readBack(ctx context.Context, e *errand) prefect.Answer {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	run, err := l.backend.FlowRun(ctx, e.Run.ID)
	switch {
	case errors.Is(err, prefect.ErrNotFound):
		return prefect.Lost
	case err != nil:
		return prefect.NotNow // if it is ours, the next look at the claims tells
	case run.Claim != nil && *run.Claim == e.claim:
		return prefect.Won
	case e.Run.State.Type.IsRunning() && run.State.Type.IsRunning() && run.Attempt() != e.claim.Attempt:
		return prefect.Won // the tasks are not due any more
	case run.Attempt() == e.claim.Attempt && run.State.Type == e.Run.State.Type:
		return prefect.NotNow // not applied, or not yet
	}
	return prefect.Lost
}

func (l *Launcher) heartbeat(ctx context.Context, e *errand) outcome {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := l.backend.Heartbeat(ctx, e.Run.ID); err != nil {
		// Soon: it may be the only one before Prefect loses patience.
		return outcome{errand: e, result: broken, err: err, blame: prefectAPI, hold: time.Now().Add(beatRetry)}
	}
	return outcome{errand: e, result: done}
}
