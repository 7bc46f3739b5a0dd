package kubernetesrun

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// template is a Job template before a run is put into it.
type template struct {
	// YAML is the text, or JSON is the object, which no YAML is read into. Both empty
	// mean the built-in template.
	YAML []byte
	JSON json.RawMessage
	// FromRun is set when the flow's author gave it, not the launcher's operator:
	// it then outranks the launcher's service account and pull secrets.
	FromRun bool
	// Origin is where it came from, for errors.
	Origin string
}

func (t template) isGiven() bool { return len(t.YAML)+len(t.JSON) > 0 }

func (t template) origin() string {
	switch {
	case !t.isGiven():
		return "the built-in job template"
	case t.Origin == "":
		return "the job template"
	}
	return t.Origin
}

// addressed sends what is wrong with a template to the one who gave it.
func (t template) addressed(err error) error {
	if err == nil || t.FromRun {
		return err
	}
	if wrong, ok := errors.AsType[*prefect.AuthorError](err); ok {
		return &job.TemplateError{Err: wrong, Advice: "mend it, or set JOB_TEMPLATE (--job-template) to another"}
	}
	return &job.TemplateError{Err: err, Advice: "see that JOB_TEMPLATE (--job-template) can be reached from the launcher", Passing: true}
}

const builtin = `
apiVersion: batch/v1
kind: Job
spec:
  template:
    spec:
      containers:
        - name: flow
`

// decoded is a template as a Job, with what the typed Job cannot tell: whether a
// key was there at all.
type decoded struct {
	job                *batchv1.Job
	hasServiceAccount  bool
	hasImagePullSecret bool
}

// decode reads a template strictly: the API server drops a misspelt field
// silently, and its author then looks for days why it does nothing.
func (t template) decode(s Settings, shared *library) (decoded, error) {
	d, err := t.once(shared)
	if err == nil && d.job.Namespace != "" && d.job.Namespace != s.Namespace {
		err = authorError("%s names the namespace %q, but Jobs run in %q: remove metadata.namespace", t.origin(), d.job.Namespace, s.Namespace)
	}
	if err == nil {
		if reserved := job.Reserved(d.job, t.FromRun); len(reserved) > 0 {
			err = authorError("%s has what no flow run's Job may have: %s: leave it out", t.origin(), strings.Join(reserved, ", "))
		}
	}
	if err == nil {
		pod := &d.job.Spec.Template
		if len(pod.Spec.Containers) == 0 {
			pod.Spec.Containers = []corev1.Container{{}}
		}
		// Nothing that a run adds to its pod is of Pod Security's concern.
		err = t.secure(*pod, s.PodSecurity)
	}
	return d, t.addressed(err)
}

// secure holds a pod against a Pod Security level, as the API server does where the
// namespace has it: here its author is told at once, and a namespace that others share
// need not have it.
func (t template) secure(pod corev1.PodTemplateSpec, level string) error {
	forbidden, err := job.Forbidden(pod, level)
	if err != nil || forbidden == "" {
		return err
	}
	return authorError("%s makes a pod that the Pod Security level %s, which flows are held to here, does not allow: %s", t.origin(), level, forbidden)
}

// once decodes the template unless an earlier run had the same. The Job is the caller's.
func (t template) once(shared *library) (d decoded, err error) {
	switch {
	case len(t.JSON) > 0:
		d, err = shared.fromJSON.Open(t.JSON, t.strictly)
	case len(t.YAML) > 0:
		d, err = shared.inYAML.Open(t.YAML, t.strictlyYAML)
	default:
		d, err = shared.inYAML.Open([]byte(builtin), t.strictlyYAML)
	}
	d.job = d.job.DeepCopy()
	return d, err
}

func (t template) strictlyYAML(text []byte) (decoded, error) {
	raw, err := yamlToJSON(text)
	if err != nil {
		return decoded{}, authorError("%s %v", t.origin(), err)
	}
	return t.strictly(raw)
}

func (t template) strictly(raw []byte) (decoded, error) {
	origin := t.origin()
	var tree any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &tree); err != nil {
		return decoded{}, authorError("%s does not parse: %v", origin, err)
	}
	if tree == nil {
		return decoded{}, authorError("%s %v", origin, errEmpty)
	}
	root, ok := tree.(map[string]any)
	if !ok {
		return decoded{}, authorError("%s is not an object: it must be a Kubernetes Job", origin)
	}
	if err := noTraps(root); err != nil {
		return decoded{}, authorError("%s: %v", origin, err)
	}
	j, err := job.Decode(raw, root)
	if err != nil {
		return decoded{}, authorError("%s %v", origin, err)
	}
	pod, ok := lookup(root, "spec", "template", "spec").(map[string]any)
	if !ok {
		return decoded{}, authorError("%s has no spec.template.spec: add the pod's spec, for example with one container named flow", origin)
	}
	_, hasAccount := pod["serviceAccountName"]
	_, hasSecrets := pod["imagePullSecrets"]
	return decoded{job: j, hasServiceAccount: hasAccount, hasImagePullSecret: hasSecrets}, nil
}

// noTraps refuses what the agent stumbled over with a Python error: nulls
// (prefect1 §4.2), and variables without a name.
func noTraps(root map[string]any) error {
	for _, path := range [][]string{
		{"metadata"},
		{"metadata", "name"},
		{"metadata", "labels"},
		{"spec"},
		{"spec", "template"},
		{"spec", "template", "metadata"},
		{"spec", "template", "metadata", "labels"},
		{"spec", "template", "spec", "containers"},
	} {
		parent, ok := lookup(root, path[:len(path)-1]...).(map[string]any)
		if !ok {
			continue
		}
		if v, present := parent[path[len(path)-1]]; present && v == nil {
			return fmt.Errorf("%s is null: give it a value or leave it out", strings.Join(path, "."))
		}
	}
	containers, _ := lookup(root, "spec", "template", "spec", "containers").([]any)
	if len(containers) == 0 {
		return nil
	}
	first, ok := containers[0].(map[string]any)
	if !ok {
		return errors.New("spec.template.spec.containers[0] is not an object")
	}
	for _, name := range []string{"env", "resources"} {
		if v, present := first[name]; present && v == nil {
			return fmt.Errorf("spec.template.spec.containers[0].%s is null: give it a value or leave it out", name)
		}
	}
	env, _ := first["env"].([]any)
	for i, entry := range env {
		if v, ok := entry.(map[string]any); ok && v["name"] == nil {
			return fmt.Errorf("spec.template.spec.containers[0].env[%d] has no name: give it one", i)
		}
	}
	return nil
}

func lookup(root map[string]any, path ...string) any {
	var at any = root
	for _, p := range path {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[p]
	}
	return at
}
