package launcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// maxSuffix names are tried. Two names in 2^32 being equal is rare already.
const maxSuffix = 4

// launch creates the Job of a run that is ours. If we die before the Job exists,
// the claim is found without it and repaired by the same name; if after, only
// the log line is missing.
func (l *Launcher) launch(ctx context.Context, e *errand) outcome {
	if e.Kind == Repair {
		if o, ok := l.lookForRepaired(ctx, e); !ok {
			return o
		}
		// The run is read after the Jobs: one that the claim had adopted may have taken
		// the run up to its end.
		e.confirmed = time.Time{}
	}
	if o, ok := l.stillOurs(ctx, e); !ok {
		return o
	}
	if o, ok := l.prepare(ctx, e); !ok {
		return o
	}
	if e.failure != "" {
		return l.fail(ctx, e)
	}
	if o, ok := l.name(e); !ok {
		return o
	}
	for {
		err := l.create(ctx, e)
		if err == nil {
			l.metrics.launched(e.Run.Due(), time.Now())
			return l.finished(ctx, e, done, e.job.Name)
		}
		if addresseeOf(err) != taken {
			return l.refusedJob(ctx, e, err)
		}
		// Whose is it? Only ours is success.
		found, err := l.get(ctx, e.job.Name)
		switch {
		case apierrors.IsNotFound(err):
			// It was there and has been deleted: so it ran, or somebody took it away. The
			// run's state knows; it is read before the next try.
			e.confirmed = time.Time{}
			return l.tryLater(ctx, e, err, none, 0)
		case err != nil:
			return l.tryLater(ctx, e, err, kubernetesAPI, 0)
		case isOurs(found, e.job):
			l.metrics.totals.adopted.Add(1)
			return l.finished(ctx, e, adopted, found.Name)
		}
		l.log.WarnContext(ctx, "the Job's name is taken by another run's Job; trying the next name",
			"flow_run", e.Run.ID, "job", e.job.Name, "reason", "taken by flow run "+found.Labels[job.LabelFlowRunID])
		if e.suffix++; e.suffix > maxSuffix {
			return l.refusedJob(ctx, e, fmt.Errorf("%d names in a row are taken by other runs' Jobs", e.suffix))
		}
		e.job = job.WithName(e.job, e.Run.ID, e.Run.Attempt(), e.suffix)
	}
}

// isOurs: a Job of the same run and attempt, whoever created it. One of an
// earlier attempt will do while it can take the run.
func isOurs(found, want *batchv1.Job) bool {
	if found.Labels[job.LabelFlowRunID] != want.Labels[job.LabelFlowRunID] {
		return false
	}
	return found.Labels[job.LabelAttempt] == want.Labels[job.LabelAttempt] || jobOf(found, nil).CanTake
}

// lookForRepaired asks whether the claim's Job is there after all. A repair acts
// on somebody else's claim and on what a watch said, which may be late.
func (l *Launcher) lookForRepaired(ctx context.Context, e *errand) (outcome, bool) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	found, err := l.jobs.list(ctx, e.Run.ID)
	if err != nil {
		return l.tryLater(ctx, e, err, kubernetesAPI, retryAfter(err)), false
	}
	own := slices.IndexFunc(found.Jobs, func(j Job) bool { return j.Attempt == job.AttemptLabel(e.claim.Attempt) })
	able := slices.IndexFunc(found.Jobs, func(j Job) bool { return j.CanTake })
	switch {
	case able >= 0:
		e.Job = found.Jobs[able].Name
	case found.Alive:
		return outcome{errand: e, result: later, hold: time.Now().Add(notNow)}, false
	case own >= 0:
		if o := l.undoIfLate(ctx, e); o.result != ignored {
			return o, false
		}
		e.Job = found.Jobs[own].Name
	default:
		return outcome{}, true
	}
	// The watch is late; it need not be told so with every reading of the claims.
	return outcome{errand: e, result: adopted, hold: time.Now().Add(recentFor)}, false
}

// create sends the Job, unless the state we act upon is known for too long.
func (l *Launcher) create(ctx context.Context, e *errand) error {
	if age(e.confirmed, time.Now()) > createWithin {
		return errors.New("the launcher was stopped for a while; reading the run again first")
	}
	ctx, cancel := context.WithDeadline(ctx, e.confirmed.Add(createWithin))
	defer cancel()
	return l.jobs.create(ctx, e.job)
}

func (l *Launcher) get(ctx context.Context, name string) (*batchv1.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return l.jobs.get(ctx, name)
}

// finished writes the line the author waits for. It is best effort: a run whose
// Job exists is never failed for the sake of a log line.
func (l *Launcher) finished(_ context.Context, e *errand, result, name string) outcome {
	e.Job = name
	l.lines.add(e.Run.ID, prefect.Info, "Submitted for execution: Job "+name)
	return outcome{errand: e, result: result}
}

// refusedJob sends Kubernetes' refusal to the one who can mend it.
func (l *Launcher) refusedJob(ctx context.Context, e *errand, err error) outcome {
	switch addresseeOf(err) {
	case author:
		if isTooLarge(err) {
			return l.authorsFault(ctx, e, tooLarge(e.job, err))
		}
		asking, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		operators, unknown := l.trial.blame(asking, job.BringsTemplate(e.Run))
		switch {
		case unknown != nil:
			err = fmt.Errorf("%w; whether that is the run's fault or the launcher's cannot be told: %v", err, unknown) //nolint:errorlint // another matter
			return l.tryLater(ctx, e, err, none, retryAfter(unknown))
		case operators != nil:
			return l.operatorsFault(ctx, e, operators, jobTemplate)
		}
		if again, wrong := l.renderer.Render(asking, e.Run); wrong != nil || outdated(e.job, again) {
			return l.operatorsFault(ctx, e, errors.New("the Job template was changed while the run was claimed"), none)
		}
		return l.authorsFault(ctx, e, "Kubernetes refused the Job of this run: "+wordsOf(err))
	case operator:
		l.trial.heard(err)
		return l.barred(ctx, e, err)
	}
	if e.claimed && e.refused.IsZero() {
		l.lines.add(e.Run.ID, prefect.Warning, "Kubernetes does not take the Job of this run yet; trying on: "+wordsOf(err))
	}
	blame := kubernetesAPI
	if isQuota(err) {
		blame = none // it works as it should, and a smaller Job may still fit
	}
	return l.tryLater(ctx, e, err, blame, retryAfter(err))
}

// outdated: what was refused is not what the run would get now. Its name may be a
// claim's, by another launcher's template, which matters where no Job can have it.
func outdated(refused, now *batchv1.Job) bool {
	was, is := job.Anonymous(refused), job.Anonymous(now)
	if len(validation.IsDNS1123Subdomain(refused.Name)) == 0 {
		is.Name = was.Name
	}
	return !equality.Semantic.DeepEqual(was, is)
}

// authorsFault fails the run, once it is ours.
func (l *Launcher) authorsFault(ctx context.Context, e *errand, message string) outcome {
	e.failure = message
	if !e.claimed {
		return l.claimToFail(ctx, e)
	}
	return l.fail(ctx, e)
}

// barred is for a permission, or the namespace, that is missing.
func (l *Launcher) barred(ctx context.Context, e *errand, err error) outcome {
	return l.operatorsFault(ctx, e, fmt.Errorf("%s: %w", advice(err, l.Namespace), err), kubernetesAPI)
}

// operatorsFault leaves a run that can do nothing for it in the queue, or puts it
// back there.
func (l *Launcher) operatorsFault(ctx context.Context, e *errand, err error, blame upstream) outcome {
	if !e.claimed {
		return outcome{errand: e, result: broken, err: err, blame: blame, hold: time.Now().Add(handBackDelay)}
	}
	e.handBack = "No Job could be created, so the run was put back in the queue. This is for the operator of the launcher: " + err.Error()
	o := l.giveBack(ctx, e)
	o.err, o.blame = errors.Join(err, o.err), blame
	return o
}

// claimToFail is for a Running run, whose Job comes before its claim: now that
// the Job is known to be impossible, the claim decides who tells the author.
func (l *Launcher) claimToFail(ctx context.Context, e *errand) outcome {
	e.claim = l.claimOn(e)
	if o, ok := l.claim(ctx, e); !ok {
		return o
	}
	return l.fail(ctx, e)
}
