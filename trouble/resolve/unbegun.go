package resolve

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// maxHandBacks is how often a run is handed back because none of its pods began the flow. The
// run's state counts.
const maxHandBacks = 3

// isTakenByAnother reports whether Kubernetes has replaced the pods that never began or are
// gone, and a new one executes the run. A Running run must have been set so by that one.
func (p *patient) isTakenByAnother() bool {
	if !p.finding.Unbegun || trouble.Finished(p.job) {
		return false
	}
	return slices.ContainsFunc(p.pods, func(pod *corev1.Pod) bool {
		switch began := trouble.FlowBegan(pod); {
		case !trouble.Executes(pod):
			return false
		case p.run.State.Phase == prefect.Claimed:
			return true
		default:
			return p.run.State.Phase == prefect.Running && !began.IsZero() && p.run.StateAt.After(began)
		}
	})
}

// endedAdopted reports whether a run was claimed with a Job of an earlier attempt, which has
// ended: when it was claimed, the pod's end was not known yet, or the Job controller had
// still to find that no other pod may follow.
func endedAdopted(j *batchv1.Job, run prefect.FlowRun) bool {
	c := run.Claim
	return c != nil && run.State.Phase == prefect.Claimed && trouble.Finished(j) &&
		c.Job == j.Name && job.AttemptLabel(c.Attempt) != j.Labels[job.LabelAttempt]
}

// wasBegun reports whether the run was begun after all: its claim came late, over a state that
// a pod had set.
func (r *Resolver) wasBegun(ctx context.Context, p *patient) (bool, error) {
	attempt := p.run.Claim.Attempt
	h, _, err := r.Claims.History(ctx, p.run.ID, attempt)
	return err == nil && r.Claims.IsLate(h, attempt) && h.Reached.Phase.IsRunning(), err
}

// handBackUnbegun hands back a Claimed run without a pod that could begin it, and then
// stops its Job. If we die in between, the run is due with a Job that may yet take it, or
// with one that has ended.
//
// It reads the run and lists its pods right before. A pod that Kubernetes creates later
// needs longer to set the run Running than the rest may take.
func (r *Resolver) handBackUnbegun(ctx context.Context, p *patient) Result {
	lines, after := r.story(ctx, p)
	for i := range lines {
		if lines[i].Level == prefect.Error {
			lines[i].Level = prefect.Warning
		}
	}
	p.confirmed = time.Time{}
	if err := r.stillUnfinished(ctx, p, trouble.CanTake(p.job, p.pods)); err != nil {
		return p.ended(err, judgeAgain)
	}
	run := p.run
	at := p.confirmed.Add(claims.HandBackDelay)
	soon, cancel := context.WithDeadline(ctx, p.confirmed.Add(claims.SendWithin))
	defer cancel()
	switch _, pods, err := r.Jobs.Inspect(soon, run.ID); {
	case err != nil:
		return r.leftForLater(ctx, p, err, jobs.Ending{})
	case slices.ContainsFunc(trouble.PodsOf(p.job, pods), trouble.Executes):
		p.note.By, p.note.Until = "", time.Time{}
		return r.released(ctx, p.forgiving(time.Now()), Ignored, jobs.Ending{})
	}
	run.HandedBack++
	if p.reason = fmt.Sprintf("No pod of Job %s began the flow, so the run was put back in the queue (%d of at most %d times): %s",
		p.job.Name, run.HandedBack, maxHandBacks, whyUnbegun(p)); endedAdopted(p.job, run) {
		p.reason = fmt.Sprintf("Job %s, which the run had from its last start, ended before it could take the run again, so the run was put back in the queue (%d of at most %d times)",
			p.job.Name, run.HandedBack, maxHandBacks)
	}
	if err := p.inTime(ctx, func(ctx context.Context) error { return r.Backend.HandBack(ctx, run, at, p.reason) }); err != nil {
		return r.refusedByPrefect(ctx, p, err)
	}
	r.Count(HandedBack)
	r.Troubles.WithLabelValues(string(p.finding.Kind)).Inc()
	p.note, p.finding.Kind = after, superseded
	result := r.dispose(soon, p, HandedBack)
	_ = r.tell(ctx, append(lines, prefect.LogEntry{FlowRunID: run.ID, Name: infraLogger, Level: prefect.Warning, Message: p.reason, Time: time.Now()}))
	return result
}

// whyUnbegun is Kubernetes' reason for the first pod that has one, or the finding's message.
func whyUnbegun(p *patient) string {
	for _, pod := range p.pods {
		if said := strings.Trim(pod.Status.Reason+": "+pod.Status.Message, ": "); said != "" && slices.Contains(p.finding.Pods, pod.Name) {
			return said
		}
	}
	return p.finding.Message
}
