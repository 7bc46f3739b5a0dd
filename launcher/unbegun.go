package launcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// maxReturns is how often a run is put back in the queue because none of its pods
// began the flow. How often it was, its state says.
const maxReturns = 3

// isTakenByAnother reports whether Kubernetes has replaced the pods that never
// began, or are gone, and another one executes the run. Of a Running run that has
// to be the one which set it so.
func (p *patient) isTakenByAnother() bool {
	if !p.finding.Unbegun || trouble.Finished(p.job) {
		return false
	}
	return slices.ContainsFunc(p.pods, func(pod *corev1.Pod) bool {
		switch began := trouble.FlowBegan(pod); {
		case !trouble.Executes(pod):
			return false
		case p.run.State.Type == prefect.Submitted:
			return true
		default:
			return p.run.State.Type == prefect.Running && !began.IsZero() && p.run.StateAt.After(began)
		}
	})
}

// returnUnbegun puts a run back in the queue that is Submitted and of which no pod
// is there any more, and then stops its Job. If we die in between, the run is due
// with a Job that may yet take it, or with one that has ended.
//
// The run is read and its pods are listed right before. A pod that Kubernetes makes
// after that needs longer to set the run Running than all that follows may take.
func (l *Launcher) returnUnbegun(ctx context.Context, e *errand, p *patient) outcome {
	lines, after := l.story(ctx, p)
	for i := range lines {
		if lines[i].Level == prefect.Error {
			lines[i].Level = prefect.Warning
		}
	}
	e.confirmed = time.Time{}
	if o, ok := l.stillUnfinished(ctx, e, trouble.CanTake(p.job, p.pods)); !ok {
		return o
	}
	run := e.Run
	at := e.confirmed.Add(handBackDelay)
	soon, cancel := context.WithDeadline(ctx, e.confirmed.Add(claimWithin))
	defer cancel()
	switch _, pods, err := l.jobs.inspect(soon, run.ID); {
	case err != nil:
		p.note = postponed(p.note)
		o := l.released(ctx, e, p, broken, ending{})
		o.err = errors.Join(err, o.err)
		return o
	case slices.ContainsFunc(trouble.PodsOf(p.job, pods), trouble.Executes):
		p.note.By, p.note.Until = "", time.Time{}
		return l.released(ctx, e, p.forgiving(time.Now()), ignored, ending{})
	}
	run.Returned++
	e.handBack = fmt.Sprintf("No pod of Job %s began the flow, so the run was put back in the queue (%d of at most %d times): %s",
		p.job.Name, run.Returned, maxReturns, whyUnbegun(p))
	if err := l.inTime(ctx, e, func(ctx context.Context) error { return l.backend.HandBack(ctx, run, at, e.handBack) }); err != nil {
		return l.refusedByPrefect(ctx, e, p, err)
	}
	l.metrics.totals.handedBack.Add(1)
	l.metrics.troubles.WithLabelValues(string(p.finding.Kind)).Inc()
	p.note, p.finding.Kind = after, superseded
	o := l.dispose(soon, e, p, returned)
	_ = l.tell(ctx, append(lines, prefect.LogEntry{FlowRunID: run.ID, Name: infraLogger, Level: prefect.Warning, Message: e.handBack, Time: time.Now()}))
	return o
}

// whyUnbegun is what Kubernetes says of the first pod, or of them all.
func whyUnbegun(p *patient) string {
	for _, pod := range p.pods {
		if said := strings.Trim(pod.Status.Reason+": "+pod.Status.Message, ": "); said != "" && slices.Contains(p.finding.Pods, pod.Name) {
			return said
		}
	}
	return p.finding.Message
}
