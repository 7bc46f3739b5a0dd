package resolve

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// superseded is the kind of a Job whose run has another, newer one.
const superseded trouble.Kind = "superseded"

func isSuperseded(j *batchv1.Job, run prefect.FlowRun, jobs []*batchv1.Job) bool {
	attempt := j.Labels[job.LabelAttempt]
	if c := run.Claim; c != nil && c.Job != j.Name && job.AttemptLabel(c.Attempt) != attempt {
		return true
	}
	return slices.ContainsFunc(jobs, func(other *batchv1.Job) bool {
		return other.CreationTimestamp.After(j.CreationTimestamp.Time) && other.Labels[job.LabelAttempt] != attempt
	})
}

// isOfSupersededAttempt reports whether the failed pods are of the attempt before: the run
// was started again and claimed with the Job it had, which has a new pod. The times are from
// two machines, but even if a clock is wrong, a Job that ends is judged by itself.
func (p *patient) isOfSupersededAttempt() bool {
	c := p.run.Claim
	return c != nil && c.Job == p.job.Name && job.AttemptLabel(c.Attempt) != p.job.Labels[job.LabelAttempt] &&
		p.finding.Kind == trouble.Failed && !trouble.Finished(p.job) &&
		!slices.Equal(p.note.Past, p.forgiving(p.run.StateAt).note.Past)
}

// forgiving is the case with a note that the pods that failed before that time, and those
// that are gone, no longer matter.
func (p *patient) forgiving(before time.Time) *patient {
	forgiven := *p
	for _, pod := range p.pods {
		if slices.Contains(p.finding.Pods, pod.Name) && trouble.Ended(pod).Before(before) {
			forgiven.note = forgiven.note.WithPast(pod)
		}
	}
	if p.finding.Kind == trouble.Failed && len(p.finding.Pods) == 0 {
		forgiven.note = forgiven.note.WithGone(int(p.job.Status.Failed))
	}
	return &forgiven
}
