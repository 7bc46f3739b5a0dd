package kubernetesrun

import (
	"cmp"
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/location"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

// The agent's own labels on Jobs and pods, byte for byte.
const (
	LabelFlowRunID  = "prefect.io/flow_run_id"
	LabelIdentifier = "prefect.io/identifier"
	LabelFlowID     = "prefect.io/flow_id"
)

// Marks are the labels by which Jobs of Prefect 1.x runs are known.
func Marks() job.Marks { return job.Marks{Run: LabelFlowRunID, Identifier: LabelIdentifier} }

// runVariable tells the flow's container its run.
const runVariable = "PREFECT__CONTEXT__FLOW_RUN_ID"

const (
	podPath       = "spec.template.spec."
	containerPath = podPath + "containers[0]."

	byDefault = "by default"
)

// Renderer renders runs with one launcher's settings, reading templates that
// are given by location through Source.
type Renderer struct {
	Settings Settings
	Source   Source
	// Tenant is the API key's, for pods, when the settings have a key and name no
	// tenant; nil leaves it out.
	Tenant func(ctx context.Context) (string, error)

	shared *library
}

// NewRenderer is for many runs: it keeps what it has decoded and other runs share.
func NewRenderer(s Settings, of Source) Renderer {
	return Renderer{Settings: s, Source: of, shared: &library{}}
}

// library are the templates and run configs that many runs share, decoded. A nil one keeps nothing.
type library struct {
	runConfigs       job.Kept[runConfig]
	inYAML, fromJSON job.Kept[decoded]
}

// Render is the Job for a run's present attempt. An error is a
// *prefect.AuthorError when the run or its own template is at fault, a *job.TemplateError
// when the launcher's own template is; any other error is that of a server
// that is away, and may pass.
func (r Renderer) Render(ctx context.Context, run prefect.FlowRun) (job.Rendering, error) {
	if run.Fault != nil {
		return job.Rendering{}, run.Fault
	}
	shared := cmp.Or(r.shared, &library{})
	made, rc, err := open(run, shared)
	if err != nil {
		return job.Rendering{}, err
	}
	t, err := r.template(ctx, rc)
	if err != nil {
		return job.Rendering{}, err
	}
	s := r.Settings
	if r.Tenant != nil && s.hasKey() && s.TenantID == "" {
		if s.TenantID, err = r.Tenant(ctx); err != nil {
			return job.Rendering{}, fmt.Errorf("find the tenant for the flow's pod: %w", err)
		}
	}
	j, from, err := render(run, made, rc, s, t, shared)
	if err != nil {
		return job.Rendering{}, err
	}
	return job.Rendering{
		Job: j, Origins: from, OwnTemplate: rc.bringsTemplate(), AuthorsAccount: rc.authorsAccount(j),
		// The default prefix is the same for all, and so is the run's inline template.
		NameVaries: job.PrefixOf(j.Name) != job.DefaultPrefix && !rc.JobTemplate.isGiven(),
	}, nil
}

// template is chosen, never merged: the run's inline one, the run's by path, the
// launcher's, the built-in one (prefect1 §4.1).
func (r Renderer) template(ctx context.Context, rc runConfig) (template, error) {
	switch {
	case rc.JobTemplate.isGiven():
		return rc.JobTemplate, nil
	case rc.JobTemplatePath != "":
		text, err := r.read(ctx, rc.JobTemplatePath)
		return template{YAML: text, FromRun: true, Origin: "the job template " + location.Shown(rc.JobTemplatePath)}, err
	case r.Settings.JobTemplate != "":
		return r.launchers(ctx)
	}
	return template{}, nil
}

// launchers is the template for runs that bring none.
func (r Renderer) launchers(ctx context.Context) (template, error) {
	t := template{Origin: "the launcher's job template " + r.Settings.JobTemplate.String()}
	var err error
	t.YAML, err = r.read(ctx, r.Settings.JobTemplate.Reveal())
	return t, t.addressed(err)
}

// CheckTemplate reads the template of runs that bring none. An error is a
// *job.TemplateError.
func (r Renderer) CheckTemplate(ctx context.Context) error {
	t, err := r.template(ctx, runConfig{})
	if err != nil {
		return err
	}
	_, err = t.decode(r.Settings, &library{})
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

func open(run prefect.FlowRun, shared *library) (recipe.Recipe, runConfig, error) {
	made, ok := recipe.Of(run)
	if !ok {
		return made, runConfig{}, fmt.Errorf("flow run %s was read without what its Job is made of", run.ID)
	}
	rc, err := shared.runConfigs.Open(made.RunConfig, func(raw []byte) (runConfig, error) { return decodeRunConfig(run.ID, raw) })
	return made, rc, err
}

// render puts a run into a template (prefect1 §4.2, in its order).
func render(run prefect.FlowRun, made recipe.Recipe, rc runConfig, s Settings, t template, shared *library) (*batchv1.Job, job.Origins, error) {
	d, err := t.decode(s, shared)
	if err != nil {
		return nil, nil, err
	}
	j, from := d.job, job.Origins{"": t.origin()}
	Marks().Identify(j, run.ID, run.Attempt, map[string]string{LabelFlowID: made.FlowID}, from)
	job.Single(j, from)

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
	if err := fillContainer(&pod.Containers[0], run.ID, made, s, rc, from); err != nil {
		return nil, nil, err
	}
	ttl := int32(0)
	if s.DeleteFinishedJobs {
		ttl = max(s.TTLSeconds, job.MinTTLSeconds)
	}
	job.Expire(j, ttl, from)
	return j, from, nil
}

// fillContainer makes container 0, whatever its name, the flow's.
func fillContainer(c *corev1.Container, runID string, made recipe.Recipe, s Settings, rc runConfig, from job.Origins) error {
	var err error
	if c.Image, err = image(made, rc, c.Image, from); err != nil {
		return err
	}
	if rc.ImagePullPolicy != nil {
		c.ImagePullPolicy = corev1.PullPolicy(*rc.ImagePullPolicy)
		from[containerPath+"imagePullPolicy"] = "run_config.image_pull_policy"
	}
	if c.Args, err = command(made.CoreVersion); err != nil {
		return err
	}
	from[containerPath+"args"] = "flow.core_version"
	c.Env = environment(runID, made.FlowID, s, rc, c.Image, c.Env, from)
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

func references(names []string) []corev1.LocalObjectReference {
	refs := make([]corev1.LocalObjectReference, 0, len(names))
	for _, n := range names {
		refs = append(refs, corev1.LocalObjectReference{Name: n})
	}
	return refs
}
