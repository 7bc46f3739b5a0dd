package launcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/prefect-keda/prefect-keda/admission"
	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// confirmedFor is how long a Job may be created after a won claim, or a read of it,
	// without another read.
	confirmedFor = 15 * time.Second
	// maxSuffix names are tried; one collision in 2^32 is rare already.
	maxSuffix = 4
)

// finish gives a run that is ours its Job, or tells its author why it gets none, or hands
// it back. If we die before the Job exists, another launcher repairs the claim by the same
// name; if after, only the log line is missing.
func (l *launch) finish(ctx context.Context) outcome {
	var err error
	if l.fault == nil {
		err = l.insist(ctx, l.RetryFor, l.create)
	}
	operators, isOperators := errors.AsType[*barred](err)
	failing, isPassing := errors.AsType[*claims.Failure](err)
	switch {
	case l.fault != nil, errors.As(err, &l.fault):
		return l.over(failed, l.fault.Message, l.insist(ctx, 2*l.RetryFor, l.fail))
	case isOperators:
		why := "No Job could be created, so the run was put back in the queue. This is for the operator of the launcher: " + operators.Error()
		o := l.handItBack(ctx, why)
		o.err, o.blame = errors.Join(operators, o.err), operators.blame
		return o
	case isPassing:
		why := fmt.Sprintf("No Job could be created in %s, so the run was put back in the queue: %s", claims.Age(l.failing, time.Now()).Round(time.Second), strings.TrimSpace(jobs.WordsOf(failing.Err)))
		return l.handItBack(ctx, why)
	case err != nil:
		return l.over("", "", err)
	}
	l.tell(ctx)
	return l.ended(l.result)
}

// tell has the backend told that the Job of the claimed run exists.
func (l *launch) tell(ctx context.Context) {
	d := tiding{l.run, l.claim, time.Now()}
	if l.hasSlot || !l.run.KeepBy.IsZero() {
		l.tidings.tell(ctx, d)
		return
	}
	l.tidings.add(ctx, d)
}

// handItBack hands the run back.
func (l *launch) handItBack(ctx context.Context, why string) outcome {
	return l.over(handedBack, why, l.insist(ctx, 2*l.RetryFor, func(ctx context.Context) error { return l.handBack(ctx, why) }))
}

// over ends the launch of a run that is ours.
func (l *launch) over(result, reason string, err error) outcome {
	if err == nil {
		o := l.ended(result)
		o.reason = reason
		return o
	}
	o := l.with(l.action().after(err))
	if _, isPassing := errors.AsType[*claims.Failure](err); isPassing && l.claimed {
		o.result, o.backoff = left, time.Time{} // another launcher repairs the claim
	}
	return o
}

// create tries once to create the Job. An AuthorError is the author's fault.
func (l *launch) create(ctx context.Context) error {
	if l.kind == Repair {
		if err := l.lookForJob(ctx); err != nil {
			return err
		}
		// Read the run after the Jobs: an adopted Job may have taken it up to its end.
		l.confirmed = time.Time{}
	}
	if err := l.stillOurs(ctx); err != nil {
		return err
	}
	if err := l.render(ctx); err != nil {
		return err
	}
	if err := l.name(); err != nil {
		return err
	}
	if l.rivals {
		// Now one of them has created the Job by its own name, or never will.
		if err := l.lookForJob(ctx); err != nil {
			return err
		}
	}
	for {
		err := l.sendJob(ctx)
		if err == nil {
			l.metrics.launched(l.run.Due, time.Now())
			for _, warning := range l.made.Warnings {
				l.lines.add(l.run.ID, prefect.Warning, warning)
			}
			return l.submitted(done, l.made.Job.Name)
		}
		if admission.AddresseeOf(err) != admission.NameExists {
			return l.refused(ctx, err)
		}
		found, err := l.get(ctx)
		switch {
		case apierrors.IsNotFound(err):
			// It existed and was deleted: the run's state tells before the next try.
			l.confirmed = time.Time{}
			return &claims.Failure{Err: err}
		case err != nil:
			return &claims.Failure{Err: err, Of: kubernetesAPI}
		case isOurs(found, l.made.Job, l.Marks):
			l.metrics.totals.adopted.Add(1)
			return l.submitted(adopted, found.Name)
		}
		l.log.WarnContext(ctx, "another run's Job has the Job's name, trying the next name",
			"flow_run", l.run.ID, "job", l.made.Job.Name, "reason", "taken by flow run "+l.Marks.RunOf(found))
		if l.suffix++; l.suffix > maxSuffix {
			return l.refused(ctx, fmt.Errorf("%d names in a row are taken by other runs' Jobs", l.suffix))
		}
		l.made.Job = l.Marks.WithName(l.made.Job, l.run.ID, l.run.Attempt, l.suffix)
	}
}

// name gives the Job the claimed name, which is the lock: another launcher may be creating
// it just now, and our template may say another name since. Without a claimed name, the
// Job is named as the run's last one was.
//
// When claims name the Job differently, each of their launchers may know of its own claim
// only and have begun. So others wait until those are done; then the Job exists, or the
// claim that the run shows decides.
func (l *launch) name() error {
	if wait := time.Until(l.run.StateAt.Add(claims.RivalsSettle)); l.rivals && wait > 0 {
		return &stop{result: later, backoff: min(wait, claims.RivalsSettle)}
	}
	claim := l.claim
	if !l.claimed && l.run.LastClaim != nil {
		claim = *l.run.LastClaim
	}
	if prefix := job.PrefixOf(claim.Job); prefix != "" {
		l.made.Job.Name, _ = job.Name(prefix, l.run.ID, l.run.Attempt, l.suffix)
	}
	if l.claimed && claim.Namespace != "" && l.made.Job.Namespace != "" {
		l.inNamespace(claim.Namespace)
	}
	return nil
}

// inNamespace moves the Job to the namespace of the claim: a name is the lock only in one, and
// somebody may have chosen another since.
func (l *launch) inNamespace(namespace string) {
	l.made.Job.Namespace = namespace
	if l.made.Secret != nil {
		l.made.Secret.Namespace = namespace
	}
}

// areRivals reports whether the claims name the Job differently.
func areRivals(claims []prefect.Claim) bool {
	return slices.ContainsFunc(claims, func(c prefect.Claim) bool { return job.PrefixOf(c.Job) != job.PrefixOf(claims[0].Job) })
}

// isOurs reports whether a Job is of the same run and attempt, or of an earlier attempt and
// can still take the run.
func isOurs(found, want *batchv1.Job, m job.Marks) bool {
	if m.RunOf(found) != m.RunOf(want) {
		return false
	}
	return found.Labels[job.LabelAttempt] == want.Labels[job.LabelAttempt] || jobs.Of(found, nil).CanTake
}

// lookForJob lists the Jobs, because another launcher may have created the run's and the
// watch may be late.
func (l *launch) lookForJob(ctx context.Context) error {
	found, err := l.claims().Present(ctx, l.run.ID)
	if err != nil {
		return &claims.Failure{Err: err, Of: kubernetesAPI, After: admission.RetryAfter(err)}
	}
	own := slices.IndexFunc(found.Jobs, func(j jobs.Job) bool { return j.Attempt == job.AttemptLabel(l.claim.Attempt) })
	able := slices.IndexFunc(found.Jobs, func(j jobs.Job) bool { return j.CanTake })
	switch {
	case able >= 0:
		l.jobName = found.Jobs[able].Name
	case found.Alive:
		return &stop{result: later, backoff: claims.NotNow}
	case own >= 0:
		if err := l.claims().UndoIfLate(ctx, l.run.ID, l.claim.Attempt); err != nil {
			return err
		}
		l.jobName = found.Jobs[own].Name
	default:
		return nil
	}
	// The watch is late; wait for it.
	return &stop{result: adopted, backoff: jobs.RecentFor}
}

// sendJob creates the Job, unless the run was confirmed too long ago.
func (l *launch) sendJob(ctx context.Context) error {
	if claims.Age(l.confirmed, time.Now()) > claims.CreateWithin {
		return errors.New("the launcher was stopped for a while; reading the run again first")
	}
	ctx, cancel := context.WithDeadline(ctx, l.confirmed.Add(claims.CreateWithin))
	defer cancel()
	return l.jobs.Create(ctx, job.LaunchOf(l.run, l.claimedAt(), time.Now()).On(l.made.Job), l.made.Secret)
}

// claimedAt is when the run was claimed; zero if it is not, or if nobody knows.
func (l *launch) claimedAt() time.Time {
	if l.won.IsZero() && l.run.State.Phase == prefect.Claimed {
		return l.run.StateAt // another launcher claimed it
	}
	return l.won
}

func (l *launch) get(ctx context.Context) (found *batchv1.Job, err error) {
	err = claims.Bounded(ctx, func(ctx context.Context) (err error) {
		found, err = l.jobs.Get(ctx, l.made.Job.Namespace, l.made.Job.Name)
		return err
	})
	return found, err
}

// submitted tells the author, best effort, that the Job exists.
func (l *launch) submitted(how, name string) error {
	l.result, l.jobName = how, name
	l.lines.add(l.run.ID, prefect.Info, "Submitted for execution: Job "+name)
	return nil
}

// refused sorts Kubernetes' refusal by who must act.
func (l *launch) refused(ctx context.Context, err error) error {
	switch admission.AddresseeOf(err) {
	case admission.Author:
		return l.faultIn(ctx, err)
	case admission.Operator:
		l.trial.Heard(err)
		return l.barredBy(err, cmp.Or(l.made.Job.Namespace, l.Namespace))
	}
	if l.claimed && l.failing.IsZero() {
		l.lines.add(l.run.ID, prefect.Warning, "Kubernetes does not take the Job of this run yet, retrying: "+jobs.WordsOf(err))
	}
	blame := kubernetesAPI
	if admission.IsQuota(err) {
		blame = none // a smaller Job may still fit
	}
	return &claims.Failure{Err: err, Of: blame, After: admission.RetryAfter(err)}
}

// faultIn finds out whose fault a refused Job is.
func (l *launch) faultIn(ctx context.Context, err error) error {
	if admission.IsTooLarge(err) {
		return &prefect.AuthorError{Message: admission.TooLarge(l.made.Job, err), Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, claims.CallTimeout)
	defer cancel()
	operators, unknown := l.trial.Blame(ctx, l.made.OwnTemplate)
	switch {
	case unknown != nil:
		err = fmt.Errorf("%w; a dry run could not tell whether the run or the launcher is at fault: %v", err, unknown) //nolint:errorlint // another matter
		return &claims.Failure{Err: err, After: admission.RetryAfter(unknown)}
	case operators != nil:
		return &barred{err: operators, blame: jobTemplate}
	}
	if again, wrong := l.renderer.Render(ctx, l.run); wrong != nil || l.outdated(again.Job) {
		return &barred{err: errors.New("the Job template was changed while the run was claimed")}
	}
	return &prefect.AuthorError{Message: "Kubernetes refused the Job of this run: " + jobs.WordsOf(err), Err: err}
}

// outdated reports whether the run would get another Job now. Names differ where another
// launcher claimed; that matters only if no Job can have the name.
func (l *launch) outdated(now *batchv1.Job) bool {
	refused := l.made.Job
	was, is := l.Marks.Anonymous(refused), l.Marks.Anonymous(now)
	if len(validation.IsDNS1123Subdomain(refused.Name)) == 0 {
		is.Name = was.Name
	}
	return !equality.Semantic.DeepEqual(was, is)
}

// barredBy says which permission is missing, or that the namespace is. Runs of other
// namespaces need not wait for what a further one lacks.
func (l *Launcher) barredBy(err error, namespace string) error {
	blame := kubernetesAPI
	if namespace != l.Namespace {
		blame = none
	}
	if admission.AddresseeOf(err) == admission.Operator {
		err = fmt.Errorf("%s: %w", admission.Advice(err, namespace), err)
	}
	return &barred{err: err, blame: blame}
}
