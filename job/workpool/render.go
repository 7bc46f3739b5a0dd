package workpool

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/recipe"
)

// Source is what a Renderer asks of Prefect.
type Source interface {
	// Inputs are the objects that the run's Job is made of. A *prefect.AuthorError says that
	// one of them is gone for good.
	Inputs(ctx context.Context, run prefect.FlowRun) (recipe.Inputs, error)
	Resolver
}

// Renderer renders runs with one launcher's settings, with what Source reads.
type Renderer struct {
	Settings Settings
	Source   Source

	shared *library
}

// NewRenderer is for many runs: it keeps what it has decoded and other runs share.
func NewRenderer(s Settings, of Source) Renderer { return Renderer{s, of, &library{}} }

// Render is the Job for a run's present attempt. An error is a *prefect.AuthorError when
// the run, its deployment, its work pool or a block is at fault; any other error is that of
// a server that is away, and may pass.
func (r Renderer) Render(ctx context.Context, run prefect.FlowRun) (job.Rendering, error) {
	if run.Fault != nil {
		return job.Rendering{}, run.Fault
	}
	if of, ok := run.Recipe.(neutral); ok {
		s := r.Settings
		s.PodSecurity = "" // it is for what authors wrote
		return Render(ctx, run, of.inputs(run), s, FromBundle(recipe.Bundle{}))
	}
	in, err := r.Source.Inputs(ctx, run)
	if err != nil {
		return job.Rendering{}, fmt.Errorf("read what the Job of flow run %s is made of: %w", run.ID, err)
	}
	return render(ctx, run, in, r.Settings, r.Source, r.shared)
}

// CheckTemplate has nothing to read: no launcher has a template of its own.
func (Renderer) CheckTemplate(context.Context) error { return nil }

// Render makes the Job of what the run's objects say, and asks the resolver only about what
// they refer to.
func Render(ctx context.Context, run prefect.FlowRun, of recipe.Inputs, s Settings, ask Resolver) (job.Rendering, error) {
	return render(ctx, run, of, s, ask, nil)
}

func render(ctx context.Context, run prefect.FlowRun, of recipe.Inputs, s Settings, ask Resolver, shared *library) (job.Rendering, error) {
	in, err := open(of, cmp.Or(shared, &library{}))
	if err != nil {
		return job.Rendering{}, err
	}
	r := &rendering{
		run: run, inputs: in, settings: s, room: maxText, from: make(job.Origins, usualOrigins), secrets: map[string]bool{},
		references: references{ctx: ctx, ask: ask, known: map[string]*value{}},
	}
	j, err := r.render()
	if err != nil {
		return job.Rendering{}, err
	}
	made := job.Rendering{
		Job: j, Origins: r.from, Secret: r.secret, Warnings: r.warnings,
		// The launcher has no template: whatever Kubernetes has against the Job is the pool's
		// or the run's. Pools and names of runs change while launchers read them.
		OwnTemplate: true, NameVaries: true,
	}
	if account := r.manifest.account(); account != nil {
		name, _ := account.text()
		made.AuthorsAccount = job.Account{Name: name, Field: "serviceAccountName, which is from " + account.from}
	}
	return made, nil
}

// usualOrigins are those of a Job of the default template.
const usualOrigins = 64

// rendering makes one Job. Its methods run once each, in the order of render.
type rendering struct {
	run        prefect.FlowRun
	inputs     inputs
	settings   Settings
	references references
	// room is how much placeholders may still bring.
	room int

	config   config
	manifest manifest
	from     job.Origins
	// secrets are the paths of values of blocks.
	secrets  map[string]bool
	secret   *corev1.Secret
	warnings []string
}

// maxWarnings bounds what an author is told at once.
const maxWarnings = 20

func (r *rendering) warn(format string, args ...any) {
	text := job.Shortened(fmt.Sprintf(format, args...), maxMessage)
	if len(r.warnings) < maxWarnings && !slices.Contains(r.warnings, text) {
		r.warnings = append(r.warnings, text)
	}
}

func (r *rendering) render() (*batchv1.Job, error) {
	if err := r.configure(); err != nil {
		return nil, err
	}
	namespace, err := r.namespace()
	if err != nil {
		return nil, err
	}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	j, err := r.typed()
	if err != nil {
		return nil, err
	}
	j.Namespace = namespace
	if err := r.label(j); err != nil {
		return nil, err
	}
	r.name(j)
	job.Single(j, r.from)
	ttl := int32(0)
	if r.settings.DeleteFinishedJobs {
		ttl = max(r.settings.TTLSeconds, job.MinTTLSeconds)
	}
	job.Expire(j, ttl, r.from)
	if err := r.hideSecrets(j); err != nil {
		return nil, err
	}
	return j, r.secure(j)
}

// secure holds the pod against a Pod Security level, as the API server does where the
// namespace has it: here its author is told at once.
func (r *rendering) secure(j *batchv1.Job) error {
	forbidden, err := job.Forbidden(j.Spec.Template, r.settings.PodSecurity)
	if err != nil || forbidden == "" {
		return err
	}
	return authorError("%s makes a pod that the Pod Security level %s, which flows are held to here, does not allow: %s", r.inputs.templateFrom, r.settings.PodSecurity, forbidden)
}

// config is what the job configuration of the template has become, beside its manifest.
type config struct {
	name                string
	namespace, env      *value
	labels, annotations *object
}

// configure fills in the template (prefect3 §3.1–§3.3).
func (r *rendering) configure() error {
	in := r.inputs
	cfg, vars, err := merge(in.configuration, in.defaults, in.deployment.variables, in.runVariables)
	if err != nil {
		return err
	}
	for _, pass := range []filler{r.variablesPass(vars), r.blocksPass(), r.prefectPass()} {
		if cfg, err = pass.object(cfg); err != nil {
			return err
		}
	}
	if v := cfg.get("cluster_config"); !v.isNull() {
		return authorError("cluster_config, which is from %s, asks for another cluster. Only a worker serves that: run `prefect worker start` for such flow runs, in a work pool of their own, or leave cluster_config out", v.from)
	}
	manifest, ok := cfg.get("job_manifest").object()
	if !ok {
		return authorError("%s has no object job_manifest in its job_configuration: give it a Kubernetes Job", in.templateFrom)
	}
	r.manifest.root = withoutNulls(manifest)
	r.config.namespace, r.config.env = cfg.get("namespace"), cfg.get("env")
	if r.config.labels, err = texts(cfg.get("labels"), "labels"); err != nil {
		return err
	}
	if r.config.annotations, err = texts(cfg.get("annotations"), "annotations"); err != nil {
		return err
	}
	r.config.name, err = r.jobName(cfg.get("name"))
	return err
}

// texts are the fields of an object of texts. One that is null is none.
func texts(v *value, what string) (*object, error) {
	if v.isNull() {
		return newObject(), nil
	}
	o, ok := v.object()
	if !ok {
		return nil, authorError("%s, which is from %s, is %s: it must be an object", what, v.from, v.kind())
	}
	o = withoutNulls(o)
	for name, field := range o.all() {
		if _, ok := field.text(); !ok {
			return nil, authorError("%.100q in %s, which is from %s, is %s: it must be a text; put it in quotes", name, what, field.from, field.kind())
		}
	}
	return o, nil
}

// namespace is where the Job goes: where run, deployment or pool say, unless it is the
// namespace "default" that every new pool's template has, which nobody has chosen, and which
// a launcher is seldom allowed to use.
func (r *rendering) namespace() (string, error) {
	metadata, _ := r.manifest.root.get("metadata").object()
	const path = "metadata.namespace"
	var chosen *value
	for _, v := range []*value{r.config.namespace, metadata.get("namespace")} {
		if v.isNull() || isUntouched(v) {
			continue
		}
		name, ok := v.text()
		switch {
		case !ok:
			return "", authorError("namespace, which is from %s, is %s: it must be a text", v.from, v.kind())
		case name == "":
		case chosen == nil:
			chosen = v
		case str(chosen) != name:
			return "", authorError("namespace is %.63q, which is from %s, and metadata.namespace of the job_manifest is %.63q, which is from %s: make both the same, or leave one out", str(chosen), chosen.from, name, v.from)
		}
	}
	metadata.remove("namespace")
	if chosen == nil {
		r.from[path] = "NAMESPACE of the launcher"
		return r.settings.Namespace, nil
	}
	name := str(chosen)
	allowed := append([]string{r.settings.Namespace}, r.settings.Namespaces...)
	if !slices.Contains(allowed, name) {
		slices.Sort(allowed)
		return "", authorError("the namespace %.63q, which is from %s, is none that Jobs are created in here: use %s, or ask the launcher's operator to add it to PREFECT_KEDA_JOB_NAMESPACES",
			name, chosen.from, strings.Join(slices.Compact(allowed), " or "))
	}
	r.from[path] = chosen.from
	return name, nil
}

// withoutNulls leaves out what is null, which is nothing to Kubernetes. (The worker leaves
// it in; a null image or name was refused.)
func withoutNulls(o *object) *object {
	kept := o.first(0)
	for name, field := range o.all() {
		if v := field.withoutNulls(); v != nil {
			kept.set(name, v)
		}
	}
	return kept
}

func (v *value) withoutNulls() *value {
	switch data := v.data.(type) {
	case nil:
		return nil
	case []*value:
		items := []*value{}
		for _, item := range data {
			if item = item.withoutNulls(); item != nil {
				items = append(items, item)
			}
		}
		return &value{data: items, from: v.from, secret: v.secret}
	case *object:
		return &value{data: withoutNulls(data), from: v.from, secret: v.secret}
	}
	return v
}
