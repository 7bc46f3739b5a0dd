package job

import (
	"context"
	"fmt"
	"maps"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/prefect-keda/prefect-keda/location"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// MinTTLSeconds is the shortest life of a finished Job. Its name is the lock of
// its attempt, so it must outlive every launcher that may still act on it.
const MinTTLSeconds = 300

// Renderer renders runs with one launcher's settings, reading templates that
// are given by location through Source.
type Renderer struct {
	Settings Settings
	Source   Source
	// Tenant is the API key's, for pods, when the settings have a key and name no
	// tenant; nil leaves it out.
	Tenant func(ctx context.Context) (string, error)
}

// Render is the Job for a run's present attempt. An error is a
// *prefect.AuthorError when the run or its own template is at fault, a *TemplateError
// when the launcher's own template is; any other error is that of a server
// that is away, and may pass.
func (r Renderer) Render(ctx context.Context, run prefect.FlowRun) (*batchv1.Job, error) {
	j, _, err := r.Explain(ctx, run)
	return j, err
}

// Explain is Render, and says where each field is from.
func (r Renderer) Explain(ctx context.Context, run prefect.FlowRun) (*batchv1.Job, Origins, error) {
	if run.Fault != nil {
		return nil, nil, run.Fault
	}
	rc, err := DecodeRunConfig(run.ID, run.RunConfig)
	if err != nil {
		return nil, nil, err
	}
	t, err := r.template(ctx, rc)
	if err != nil {
		return nil, nil, err
	}
	s := r.Settings
	if r.Tenant != nil && s.hasKey() && s.TenantID == "" {
		if s.TenantID, err = r.Tenant(ctx); err != nil {
			return nil, nil, fmt.Errorf("find the tenant for the flow's pod: %w", err)
		}
	}
	return render(run, rc, s, t)
}

// template is chosen, never merged: the run's inline one, the run's by path, the
// launcher's, the built-in one (prefect1-spec §4.1).
func (r Renderer) template(ctx context.Context, rc RunConfig) (Template, error) {
	switch {
	case rc.JobTemplate.isGiven():
		return rc.JobTemplate, nil
	case rc.JobTemplatePath != "":
		text, err := r.read(ctx, rc.JobTemplatePath)
		return Template{YAML: text, FromRun: true, Origin: "the job template " + location.Shown(rc.JobTemplatePath)}, err
	case r.Settings.JobTemplate != "":
		return r.launchers(ctx)
	}
	return Template{}, nil
}

// launchers is the template for runs that bring none.
func (r Renderer) launchers(ctx context.Context) (Template, error) {
	t := Template{Origin: "the launcher's job template " + r.Settings.JobTemplate.String()}
	var err error
	t.YAML, err = r.read(ctx, r.Settings.JobTemplate.Reveal())
	return t, t.addressed(err)
}

// CheckTemplate reads the template of runs that bring none. An error is a
// *TemplateError.
func (r Renderer) CheckTemplate(ctx context.Context) error {
	t, err := r.template(ctx, RunConfig{})
	if err != nil {
		return err
	}
	_, err = t.decode(r.Settings)
	return err
}

func (r Renderer) read(ctx context.Context, from string) ([]byte, error) {
	text, err := r.Source.Read(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("read job template: %w", err)
	}
	if len(text) == 0 {
		// Without this an empty file would pass for "no template".
		return nil, authorError("the job template %s is empty: it must hold one Kubernetes Job", location.Shown(from))
	}
	return text, nil
}

// Render puts a run into a template (prefect1-spec §4.2, in its order).
func Render(run prefect.FlowRun, s Settings, t Template) (*batchv1.Job, error) {
	rc, err := DecodeRunConfig(run.ID, run.RunConfig)
	if err != nil {
		return nil, err
	}
	j, _, err := render(run, rc, s, t)
	return j, err
}

func render(run prefect.FlowRun, rc RunConfig, s Settings, t Template) (*batchv1.Job, Origins, error) {
	d, err := t.decode(s)
	if err != nil {
		return nil, nil, err
	}
	j, from := d.job, Origins{"": t.origin(), "apiVersion": always, "kind": always}
	j.APIVersion, j.Kind = "batch/v1", "Job"
	name, identifier := Name(j.Name, run.ID, run.Attempt(), 0)
	j.Name = name
	from["metadata.name"] = "the template's name if it has one, and the attempt at the flow run"
	labels := map[string]string{
		LabelIdentifier: identifier, LabelFlowRunID: run.ID, LabelFlowID: run.Flow.ID, LabelAttempt: AttemptLabel(run.Attempt()),
	}
	j.Labels = merged(j.Labels, labels)
	j.Spec.Template.Labels = merged(j.Spec.Template.Labels, labels)
	for name := range labels {
		from["metadata.labels."+name], from["spec.template.metadata.labels."+name] = "the flow run", "the flow run"
	}

	unborn(j)
	onePod(j, from)

	pod := &j.Spec.Template.Spec
	switch {
	case rc.ServiceAccount != nil:
		pod.ServiceAccountName = *rc.ServiceAccount
		from[podPath+"serviceAccountName"] = "run_config.service_account_name"
	case d.hasServiceAccount && t.FromRun:
	case s.ServiceAccountName != "":
		pod.ServiceAccountName = s.ServiceAccountName
		from[podPath+"serviceAccountName"] = "SERVICE_ACCOUNT_NAME"
	}
	switch {
	case len(rc.ImagePullSecrets) > 0:
		pod.ImagePullSecrets = references(rc.ImagePullSecrets)
		from[podPath+"imagePullSecrets"] = "run_config.image_pull_secrets"
	case d.hasImagePullSecret && t.FromRun:
	case s.ImagePullSecrets != nil:
		pod.ImagePullSecrets = references(s.ImagePullSecrets)
		from[podPath+"imagePullSecrets"] = "IMAGE_PULL_SECRETS"
	}
	if pod.RestartPolicy == "" {
		pod.RestartPolicy = corev1.RestartPolicyNever
		from[podPath+"restartPolicy"] = byDefault
	}
	if err := fillContainer(&pod.Containers[0], run, s, rc, from); err != nil {
		return nil, nil, err
	}
	applyTTL(j, s, from)
	return j, from, nil
}

// fillContainer makes container 0, whatever its name, the flow's.
func fillContainer(c *corev1.Container, run prefect.FlowRun, s Settings, rc RunConfig, from Origins) error {
	var err error
	if c.Image, err = image(run.Flow, rc, c.Image, from); err != nil {
		return err
	}
	if rc.ImagePullPolicy != nil {
		c.ImagePullPolicy = corev1.PullPolicy(*rc.ImagePullPolicy)
		from[containerPath+"imagePullPolicy"] = "run_config.image_pull_policy"
	}
	if c.Args, err = command(run.Flow.CoreVersion); err != nil {
		return err
	}
	from[containerPath+"args"] = "flow.core_version"
	c.Env = environment(run, s, rc, c.Image, c.Env, from)
	for _, q := range []struct {
		field, value string
		list         *corev1.ResourceList
		path         string
		name         corev1.ResourceName
	}{
		{"memory_request", rc.MemoryRequest, &c.Resources.Requests, "resources.requests", corev1.ResourceMemory},
		{"cpu_request", rc.CPURequest, &c.Resources.Requests, "resources.requests", corev1.ResourceCPU},
		{"memory_limit", rc.MemoryLimit, &c.Resources.Limits, "resources.limits", corev1.ResourceMemory},
		{"cpu_limit", rc.CPULimit, &c.Resources.Limits, "resources.limits", corev1.ResourceCPU},
	} {
		if q.value == "" {
			continue
		}
		quantity, err := resource.ParseQuantity(q.value)
		if err != nil {
			return authorError("%s of the run_config is %q, which is not a quantity Kubernetes understands: write for example 500m or 2 for CPU, 512Mi or 4Gi for memory", q.field, q.value)
		}
		if *q.list == nil {
			*q.list = corev1.ResourceList{}
		}
		(*q.list)[q.name] = quantity
		from[containerPath+q.path+"."+string(q.name)] = "run_config." + q.field
	}
	return nil
}

func applyTTL(j *batchv1.Job, s Settings, from Origins) {
	const path = "spec.ttlSecondsAfterFinished"
	switch ttl := j.Spec.TTLSecondsAfterFinished; {
	case ttl != nil && *ttl < MinTTLSeconds:
		j.Spec.TTLSecondsAfterFinished = new(int32(MinTTLSeconds))
		from[path] = fmt.Sprintf("the least there may be; the template has %d", *ttl)
	case ttl == nil && s.DeleteFinishedJobs:
		j.Spec.TTLSecondsAfterFinished = new(max(s.TTLSeconds, MinTTLSeconds))
		from[path] = "PREFECT_KEDA_JOB_TTL"
	}
}

func merged(into, from map[string]string) map[string]string {
	if into == nil {
		into = make(map[string]string, len(from))
	}
	maps.Copy(into, from)
	return into
}

func references(names []string) []corev1.LocalObjectReference {
	refs := make([]corev1.LocalObjectReference, 0, len(names))
	for _, n := range names {
		refs = append(refs, corev1.LocalObjectReference{Name: n})
	}
	return refs
}
