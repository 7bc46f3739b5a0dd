package workpool

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	kjson "sigs.k8s.io/json"

	"github.com/prefect-keda/prefect-keda/job"
)

// Container is the name of the flow's container.
const Container = "prefect-job"

const podPath = "spec.template.spec."

// maxMessage to an author, in bytes.
const maxMessage = 4000

// manifest is the Job before it has its type. Everything that only ours has no place for in
// a Kubernetes Job is done here.
type manifest struct {
	root, pod, container *object
	// path is the container's.
	path string
	// env are the container's variables, as they will be in the Job.
	env []*value
}

// account is the pod's service account; nil if none is named.
func (m manifest) account() *value {
	if v := m.pod.get("serviceAccountName"); !v.isEmpty() {
		return v
	}
	// The old name, which Kubernetes still takes.
	if v := m.pod.get("serviceAccount"); !v.isEmpty() {
		return v
	}
	return nil
}

// prepare makes of the manifest what Kubernetes takes (prefect3 §3.5, §3.6).
func (r *rendering) prepare() error {
	m := &r.manifest
	if err := m.open(r.inputs.templateFrom); err != nil {
		return err
	}
	for _, name := range []string{"parallelism", "completions"} {
		// The worker wants them here, where Kubernetes knows no such field.
		if v := m.pod.get(name); v != nil && str(v) != "1" {
			r.warn("%s%s is %.20s, which is from %s: a flow run is one pod, always", podPath, name, str(v), v.from)
		}
		m.pod.remove(name)
	}
	switch policy := m.pod.get("restartPolicy"); {
	case policy.isEmpty():
		m.pod.set("restartPolicy", &value{data: "Never", from: job.Always})
	case str(policy) != "Never":
		return authorError("%srestartPolicy is %.40q, which is from %s: it must be Never, or one pod would run the flow twice", podPath, str(policy), policy.from)
	}
	if err := r.args(); err != nil {
		return err
	}
	r.image()
	return r.environment()
}

// open finds the pod and the flow's container.
func (m *manifest) open(from string) error {
	var err error
	spec, err := m.root.part("spec", "job_manifest", from)
	if err != nil {
		return err
	}
	template, err := spec.part("template", "job_manifest.spec", from)
	if err != nil {
		return err
	}
	if m.pod, err = template.part("spec", "job_manifest.spec.template", from); err != nil {
		return err
	}
	containers, ok := m.pod.get("containers").list()
	if !ok {
		return authorError("%s has no list of containers in its job_manifest.spec.template.spec: give it one, with a container named %s", from, Container)
	}
	// The worker takes the first and refuses any other name. A sidecar may stand before it.
	for i, c := range containers {
		container, _ := c.object()
		if name, _ := container.get("name").text(); name == Container {
			m.container, m.path = container, fmt.Sprintf("%scontainers[%d].", podPath, i)
			return nil
		}
	}
	return authorError("%s has no container named %s in its job_manifest.spec.template.spec.containers: give the flow's container that name", from, Container)
}

// part is an object that has to be there.
func (o *object) part(name, of, from string) (*object, error) {
	part, ok := o.get(name).object()
	if !ok {
		return nil, authorError("%s has no object %s in its %s: add it, for example from the default template of a new work pool", from, name, of)
	}
	return part, nil
}

// args is the flow's command. That of the image, and a command in the manifest, stay as
// they are.
func (r *rendering) args() error {
	c := r.manifest.container
	given := c.get("args")
	var words []string
	from := "by default"
	switch _, isList := given.list(); {
	case isList:
		return nil
	case given == nil:
		words = r.command()
	default:
		text, ok := given.text()
		if !ok {
			return authorError("%sargs, which is from %s, is %s: it must be a text or a list", r.manifest.path, given.from, given.kind())
		}
		var err error
		if words, err = split(text); err != nil {
			if given.secret {
				text = "…"
			}
			return authorError("the command %.200q, which is from %s, %v", text, given.from, err)
		}
		from = given.from
	}
	items := make([]*value, len(words))
	for i, word := range words {
		items[i] = &value{data: word, from: from, secret: given != nil && given.secret}
	}
	c.set("args", &value{data: items, from: from})
	return nil
}

// command is what runs a flow run in a pod of the server's version (prefect3 §4).
func (r *rendering) command() []string {
	if strings.HasPrefix(r.inputs.serverVersion, "2.") {
		return []string{"python", "-m", "prefect.engine"}
	}
	return []string{"prefect", "flow-run", "execute"}
}

var released = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+$`) //nolint:gochecknoglobals // compiled once, never changed

// image is given if the manifest names none: the worker takes that of its own version, and
// we have none of Prefect's.
func (r *rendering) image() {
	c := r.manifest.container
	if !c.get("image").isEmpty() {
		return
	}
	image, from := r.settings.DefaultImage, "PREFECT_KEDA_DEFAULT_IMAGE"
	if image == "" {
		image, from = DefaultImage(r.inputs.serverVersion), "the server's version"
	}
	c.set("image", &value{data: image, from: from})
}

// DefaultImage is Prefect's own image for pods of a server of that version. The version is
// empty for Cloud, which does not say.
func DefaultImage(serverVersion string) string {
	if released.MatchString(serverVersion) {
		return "prefecthq/prefect:" + serverVersion + "-python3.12"
	}
	major, _, _ := strings.Cut(cmp.Or(serverVersion, "3"), ".")
	if major != "2" {
		major = "3"
	}
	return "prefecthq/prefect:" + major + "-latest"
}

// typed is the manifest as a Job. What does not fit is its author's error. A field that no
// Job has is left out with a warning, as Kubernetes does it: such templates work today.
func (r *rendering) typed() (*batchv1.Job, error) {
	raw, err := r.manifest.root.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("write the Job of flow run %s as JSON: %w", r.run.ID, err)
	}
	r.origins()
	if len(raw) > 2*maxText {
		return nil, authorError("the Job is larger than 3 MiB, and Kubernetes takes no such Job: %s", lengthAdvice)
	}
	j := &batchv1.Job{}
	if strict, err := kjson.UnmarshalStrict(raw, j); err != nil || len(strict) > 0 {
		*j = batchv1.Job{}
		if err := r.misfits(raw, j); err != nil {
			return nil, err
		}
	}
	if cmp.Or(j.APIVersion, "batch/v1") != "batch/v1" || cmp.Or(j.Kind, "Job") != "Job" {
		return nil, authorError("the job_manifest is a %.60s %.60s, which is from %s: it must be a batch/v1 Job", j.APIVersion, j.Kind, r.from.Of("kind"))
	}
	for i, v := range j.Spec.Template.Spec.Containers[r.index()].Env {
		if v.Name == "" {
			return nil, authorError("%senv[%d] has no name, which is from %s: give it one", r.manifest.path, i, r.manifest.env[i].from)
		}
	}
	return j, nil
}

// misfits reads a Job whose manifest does not fit in all its parts, and tells all there is.
func (r *rendering) misfits(raw []byte, into *batchv1.Job) error {
	var tree map[string]any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &tree); err != nil {
		return authorError("%s makes no Job: %v", r.inputs.templateFrom, err)
	}
	var wrong []string
	for _, m := range job.Misfits(tree) {
		switch from := r.from.Of(m.Path); {
		case m.Why == "":
			r.warn("Kubernetes knows no field %s, which is from %s, and leaves it out", m.Path, from)
		case r.secrets[m.Path]:
			wrong = append(wrong, fmt.Sprintf("%s is of another type than the block's value (from %s)", m.Path, from))
		default:
			wrong = append(wrong, fmt.Sprintf("%s (from %s)", m, from))
		}
	}
	if len(wrong) > 0 {
		return authorError("the job_manifest does not make a Kubernetes Job: %s", strings.Join(wrong, "; "))
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, into); err != nil {
		return authorError("%s makes no Kubernetes Job: %v", r.inputs.templateFrom, err)
	}
	return nil
}

// index is the flow's container's.
func (r *rendering) index() int {
	containers, _ := r.manifest.pod.get("containers").list()
	return slices.IndexFunc(containers, func(v *value) bool { o, _ := v.object(); return o == r.manifest.container })
}

// origins are those of all fields that do not have their parent's. On the way it looks for
// values of blocks where nothing hides them.
func (r *rendering) origins() {
	r.from[""] = r.inputs.templateFrom
	r.trace("", &value{data: r.manifest.root, from: r.inputs.templateFrom}, r.inputs.templateFrom)
}

func (r *rendering) trace(path string, v *value, parents string) {
	if v.from != parents {
		r.from[path] = v.from
	}
	if v.secret && v.isScalar() {
		r.secrets[path] = true
		if !strings.HasPrefix(path, r.manifest.path+"env[") {
			r.warn("everybody who may read Jobs can read %s, which has a value of a block: have the pod take it from env", path)
		}
	}
	if o, ok := v.object(); ok {
		for name, field := range o.all() {
			r.trace(strings.TrimPrefix(path+"."+name, "."), field, v.from)
		}
	}
	items, _ := v.list()
	for i, item := range items {
		at := fmt.Sprintf("%s[%d]", path, i)
		if path == r.manifest.path+"env" {
			if entry, ok := item.object(); ok && !entry.get("name").isEmpty() {
				at = fmt.Sprintf("%s[%s]", path, str(entry.get("name")))
			}
		}
		r.trace(at, item, v.from)
	}
}
