package launcher

import (
	"context"
	"errors"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// template renders every run's Job the same; a run config of "wrong" is its
// author's error, one of "away" is nobody's.
type template struct{}

// mendable renders as the operator's template, which is wrong for a while, lets
// it: runs that bring their own do not mind.
type mendable struct {
	template
	wrong func() error
}

func (m mendable) Render(ctx context.Context, r prefect.FlowRun) (job.Rendering, error) {
	if err := m.wrong(); err != nil && !bringsTemplate(r) {
		return job.Rendering{}, &job.TemplateError{Err: err, Advice: "mend it, or set JOB_TEMPLATE (--job-template) to another"}
	}
	return m.template.Render(ctx, r)
}

// bringsTemplate: the run config has an inline template.
func bringsTemplate(r prefect.FlowRun) bool { return strings.Contains(configOf(r), "job_template") }

// under is a rendering with a Job named as a template of that name has it.
func under(prefix string, made job.Rendering, r prefect.FlowRun) job.Rendering {
	made.Job.Name, _ = job.Name(prefix, r.ID, r.Attempt, 0)
	made.NameVaries = !made.OwnTemplate && prefix != "prefect-job"
	return made
}

func (template) Neutral(ownTemplate bool) prefect.FlowRun {
	r := run("neutral")
	if ownTemplate {
		r.runConfig(`{"type": "KubernetesRun", "job_template": {}}`)
	}
	return r.FlowRun
}

func (template) Render(_ context.Context, r prefect.FlowRun) (job.Rendering, error) {
	if configOf(r) == "wrong" {
		return job.Rendering{}, &prefect.AuthorError{Message: "cpu_limit: write 500m or 2"}
	}
	if configOf(r) == "away" {
		return job.Rendering{}, errors.New("the template's server does not answer")
	}
	if since, ok := strings.CutPrefix(configOf(r), "away since "); ok {
		at, err := time.Parse(time.RFC3339, since)
		return job.Rendering{}, &job.AwayError{Since: at, Err: errors.Join(err, errors.New("its server does not answer"))}
	}
	name, identifier := job.Name("prefect-job", r.ID, r.Attempt, 0)
	labels := map[string]string{
		kubernetesrun.LabelIdentifier: identifier, kubernetesrun.LabelFlowRunID: r.ID,
		job.LabelAttempt: job.AttemptLabel(r.Attempt),
	}
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	j.Spec.Template.Labels = map[string]string{kubernetesrun.LabelIdentifier: identifier}
	return job.Rendering{Job: j, OwnTemplate: bringsTemplate(r)}, nil
}
