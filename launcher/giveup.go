package launcher

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// fail tells the author what is wrong and sets the run Failed.
func (l *Launcher) fail(ctx context.Context, e *errand) outcome {
	if e.claimed && age(e.confirmed, time.Now()) > fresh {
		e.confirmed = time.Time{}
	}
	if o, ok := l.stillOurs(ctx, e); !ok {
		return o
	}
	ctx, cancel := e.setting(ctx)
	defer cancel()
	if err := l.backend.Fail(ctx, e.Run, e.failure); err != nil {
		return l.tryLater(ctx, e, err, prefectAPI, prefect.RetryAfter(err))
	}
	text := e.failure
	if e.job != nil {
		text += "\nThe Job was:\n" + asYAML(e.job)
	}
	l.lines.add(e.Run.ID, prefect.Error, text)
	l.metrics.totals.failed.Add(1)
	return outcome{errand: e, result: failed}
}

// giveBack returns a run that is not at fault to the queue. The Jobs are looked at
// before the run is: what came of a try of ours, or of another launcher's, shows
// in one or the other.
func (l *Launcher) giveBack(ctx context.Context, e *errand) outcome {
	glance, cancel := context.WithTimeout(ctx, glanceTimeout)
	found, err := l.jobs.list(glance, e.Run.ID)
	cancel()
	for _, j := range found.Jobs {
		if j.CanTake || j.Attempt == job.AttemptLabel(e.claim.Attempt) {
			return l.finished(ctx, e, adopted, j.Name)
		}
	}
	if err != nil {
		// Kubernetes may be away altogether; then nobody has created anything.
		l.log.DebugContext(ctx, "handing back without having seen the Jobs", "flow_run", e.Run.ID, "err", err)
	}
	e.confirmed = time.Time{} // no other write does as much harm to a run that has moved on
	if o, ok := l.stillOurs(ctx, e); !ok {
		return o
	}
	ctx, cancel = e.setting(ctx)
	defer cancel()
	at := time.Now()
	if !e.last {
		at = at.Add(min(handBackDelay<<min(e.returns, 10), maxHandBack))
	}
	if err := l.backend.HandBack(ctx, e.Run, at, e.handBack); err != nil {
		return l.tryLater(ctx, e, err, prefectAPI, prefect.RetryAfter(err))
	}
	if e.returns == 0 { // else it has been told; the state says it again
		l.lines.add(e.Run.ID, prefect.Warning, e.handBack)
	}
	l.metrics.totals.handedBack.Add(1)
	return outcome{errand: e, result: returned}
}

// stillOurs reads a claimed run again when the claim was confirmed too long ago, and
// what was written since its attempt was scheduled: of several claims of the attempt
// any may be the one that the run shows, and it may have come late.
func (l *Launcher) stillOurs(ctx context.Context, e *errand) (outcome, bool) {
	if !e.claimed {
		return outcome{}, true // a Relaunch: there the Job is the claim, and take has just read the run
	}
	if !e.confirmed.IsZero() && age(e.confirmed, time.Now()) <= confirmedFor {
		return outcome{}, true
	}
	h, o, ok := l.history(ctx, e)
	if !ok {
		return o, false
	}
	run := h.Run
	switch {
	case l.isClaim(run, e.claim.Attempt) && h.IsLate():
		return l.restore(ctx, e, h), false
	case l.isClaim(run, e.claim.Attempt):
		e.Run, e.claim, e.rivals = attempting(run, e.claim.Attempt), *run.Claim, areRivals(h.Claims)
		return outcome{}, true
	case e.Run.State.Type.IsRunning() && run.State.Type == prefect.Running:
		return outcome{}, true // its tasks were claimed; the run itself does not show it
	}
	return outcome{errand: e, result: overtaken}, false
}

// isClaim: the run is claimed from here, for that attempt.
func (l *Launcher) isClaim(run prefect.FlowRun, attempt prefect.Attempt) bool {
	return run.State.Type == prefect.Submitted && run.Claim != nil && run.Claim.Attempt == attempt && run.Claim.IsIn(l.Namespace, l.jobs.namespaceUID())
}

// attempting is a claimed run as the attempt it was claimed for: the claim itself
// made a new version, and names must not follow it.
func attempting(run prefect.FlowRun, a prefect.Attempt) prefect.FlowRun {
	if version, ok := a.Version(); ok {
		run.Version = version
	}
	return run
}

// tryLater keeps the errand for another try. after is a wish of the upstream's.
func (l *Launcher) tryLater(ctx context.Context, e *errand, err error, blame upstream, after time.Duration) outcome {
	now := time.Now()
	if !e.claimed {
		// Nothing binds us; the next look decides anew.
		return outcome{errand: e, result: broken, err: err, blame: blame, hold: now.Add(max(after, notNow))}
	}
	if e.refused.IsZero() {
		e.refused = now
	}
	long := age(e.refused, now)
	if (e.last || long > l.RetryFor) && e.failure == "" && e.handBack == "" {
		e.handBack = fmt.Sprintf("No Job could be created in %s, so the run was put back in the queue: %s", long.Round(time.Second), strings.TrimSpace(wordsOf(err)))
		return l.giveBack(ctx, e)
	}
	if e.last || long > 2*l.RetryFor {
		// Somebody else finishes it: the claim lasts.
		return outcome{errand: e, result: left, err: err, blame: blame}
	}
	return outcome{errand: e, again: now.Add(max(after, backoff(e.tries))), err: err, blame: blame}
}
