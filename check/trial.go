package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/job"
)

func (c *jobChecks) render(ctx context.Context) (string, error) {
	made, err := c.Renderer.Render(ctx, c.Renderer.Neutral(false))
	c.job = made.Job
	wrong, ok := errors.AsType[*job.TemplateError](err)
	switch {
	case ok && errors.Is(wrong.Err, fs.ErrNotExist) && c.notAs != nil:
		return "", skipped(c.TemplateOrigin + " is a file in the launcher's pod and not in this one: launchers read it when they start")
	case ok && wrong.Passing:
		return "", failed(wrong.Err, "check that the template's location can be reached from here, or set JOB_TEMPLATE (--job-template); until it can be read, runs without a template of their own wait")
	case ok:
		return "", failed(wrong.Err, "fix the template or set JOB_TEMPLATE (--job-template); paths are read on this machine. No launcher starts with the template as it is. prefect-keda render shows a run's Job")
	case err != nil:
		return "", failed(err, "the launcher's settings do not make a Job even of a run that brings nothing of its own: fix what is named")
	}
	return cmp.Or(c.TemplateOrigin, "the built-in one") + ", rendered", nil
}

// tryJob lets the API server do everything but store the Job: defaults, validation,
// webhooks and quotas.
func (c *jobChecks) tryJob(ctx context.Context) (string, error) {
	if c.notAs != nil {
		return "", skipped("not allowed to act as the launcher: launchers try it when they start")
	}
	_, err := c.cluster.Jobs.Create(ctx, c.job, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not support dry run") {
		return "", skipped(err.Error() + ": if the webhook has no side effects, set its sideEffects to None. Without a dry run nobody can tell an author's mistake from the template's")
	}
	if err != nil {
		return "", failed(err, "%s", c.adviceOnJob(err))
	}
	found := "Kubernetes would accept it"
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
		return "an admission webhook or policy wants other Jobs: change the Job template (JOB_TEMPLATE), or exempt the namespace"
	case strings.Contains(text, "exceeded quota"):
		return fmt.Sprintf("raise the quota or wait for Jobs to end (kubectl -n %s describe resourcequota): until there is room, runs wait in Prefect and are tried again", c.namespace)
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("the message names what refuses it: change that, or the Role in namespace %s", c.namespace)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return "the named fields come from the Job template or the launcher's settings: fix them there. No launcher starts with them as they are. prefect-keda render shows a run's Job"
	}
	return "check whether the API server and the webhooks it calls are healthy, and try again"
}
