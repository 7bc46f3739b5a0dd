package check

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/job"
)

func (c *jobChecks) render(ctx context.Context) (string, error) {
	var err error
	c.job, err = c.Renderer.Render(ctx, job.Neutral(false))
	wrong, ok := errors.AsType[*job.TemplateError](err)
	switch {
	case ok && wrong.Passing:
		return "", failed(wrong.Err, "see that the place the template is read from can be reached from here, or set JOB_TEMPLATE (--job-template); until it can be read runs that bring no template of their own wait")
	case ok:
		return "", failed(wrong.Err, "mend the template, or set JOB_TEMPLATE (--job-template), of which a path is read where this runs; no launcher starts with it as it is. prefect-keda render shows a run's Job")
	case err != nil:
		return "", failed(err, "the launcher's settings make no Job of a run that brings nothing of its own: mend what is named")
	}
	origin := c.TemplateOrigin
	if origin == "" {
		origin = "the built-in one"
	}
	return origin + ", rendered", nil
}

// tryJob has the API server do all but keep the Job: defaults, validation,
// webhooks and quotas have their say.
func (c *jobChecks) tryJob(ctx context.Context) (string, error) {
	_, err := c.cluster.Jobs.Create(ctx, c.job, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not support dry run") {
		return "", skipped(err.Error() + ": give the webhook sideEffects: None, if it has none, or nobody can tell an author's mistake from the template's")
	}
	if err != nil {
		return "", failed(err, "%s", c.adviceOnJob(err))
	}
	found := "Kubernetes would take it"
	if warnings := c.cluster.Warnings(); len(warnings) > 0 {
		found += ", but warns: " + strings.Join(warnings, "; ")
	}
	return found, nil
}

func (c *jobChecks) adviceOnJob(err error) string {
	text := err.Error()
	switch {
	case apierrors.IsNotFound(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return fmt.Sprintf("create the namespace %s, or set NAMESPACE (--namespace)", c.namespace)
	case strings.Contains(text, "denied the request"), strings.Contains(text, "denied request:"):
		return "an admission webhook or policy wants other Jobs: say so in the Job template (JOB_TEMPLATE), or exempt the namespace"
	case strings.Contains(text, "exceeded quota"):
		return fmt.Sprintf("raise the quota or wait for Jobs to end (kubectl -n %s describe resourcequota): until there is room runs wait in Prefect, and are tried again", c.namespace)
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("what refuses it is named above: mend it, or the Role in namespace %s", c.namespace)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return "the fields named come from the Job template or the launcher's settings: mend them there; no launcher starts with them as they are. prefect-keda render shows a run's Job"
	}
	return "see whether the API server and the webhooks it calls are well, and try again"
}
