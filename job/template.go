package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// Template is a Job template before a run is put into it.
type Template struct {
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

func (t Template) isGiven() bool { return len(t.YAML)+len(t.JSON) > 0 }

func (t Template) origin() string {
	switch {
	case !t.isGiven():
		return "the built-in job template"
	case t.Origin == "":
		return "the job template"
	}
	return t.Origin
}

// TemplateError is what is wrong with the launcher's own template. It is no run's
// fault, so it fails none: they wait until the operator has mended it. (The agent
// failed every run that came by meanwhile.)
type TemplateError struct {
	Err error
	// Passing is set when the template may be well and cannot be read at the moment.
	Passing bool
}

// Error says which setting it is.
func (e *TemplateError) Error() string {
	if e.Passing {
		return fmt.Sprintf("%v: see that JOB_TEMPLATE (--job-template) can be reached from the launcher; runs without a template of their own wait", e.Err)
	}
	return fmt.Sprintf("%v: mend it, or set JOB_TEMPLATE (--job-template) to another; runs without a template of their own wait", e.Err)
}

// Unwrap is what is wrong, without whose it is: there is nothing in it for authors.
func (e *TemplateError) Unwrap() error {
	if wrong, ok := errors.AsType[*prefect.AuthorError](e.Err); ok {
		return wrong.Err
	}
	return e.Err
}

// AwayError is a template's server that does not answer as one that has it would. It
// may pass, so a run that names the template can wait for a while.
type AwayError struct {
	// Since is when it was first found so; it has not answered well since.
	Since time.Time
	Err   error
}

// Error is what it did instead; secrets in the location are hidden.
func (e *AwayError) Error() string { return e.Err.Error() }

// Unwrap is the same error.
func (e *AwayError) Unwrap() error { return e.Err }

// addressed sends what is wrong with a template to the one who gave it.
func (t Template) addressed(err error) error {
	if err == nil || t.FromRun {
		return err
	}
	if wrong, ok := errors.AsType[*prefect.AuthorError](err); ok {
		return &TemplateError{Err: wrong}
	}
	return &TemplateError{Err: err, Passing: true}
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
func (t Template) decode(s Settings) (decoded, error) {
	d, err := t.strictly()
	if err == nil && d.job.Namespace != "" && d.job.Namespace != s.Namespace {
		err = authorError("%s names the namespace %q, but Jobs run in %q: remove metadata.namespace", t.origin(), d.job.Namespace, s.Namespace)
	}
	if err == nil {
		err = t.reserved(d.job)
	}
	if err == nil {
		pod := &d.job.Spec.Template
		if len(pod.Spec.Containers) == 0 {
			pod.Spec.Containers = []corev1.Container{{}}
		}
		// Nothing that a run adds to its pod is of Pod Security's concern.
		err = s.secure(*pod, t.origin())
	}
	return d, t.addressed(err)
}

func (t Template) strictly() (decoded, error) {
	raw, origin := t.JSON, t.origin()
	if len(raw) == 0 {
		text := t.YAML
		if len(text) == 0 {
			text = []byte(builtin)
		}
		var err error
		if raw, err = yamlToJSON(text); err != nil {
			return decoded{}, authorError("%s %v", origin, err)
		}
	}
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
	j := &batchv1.Job{}
	strict, err := kjson.UnmarshalStrict(raw, j)
	if err != nil {
		return decoded{}, authorError("%s is not a Kubernetes Job: %v", origin, err)
	}
	if err := errors.Join(strict...); err != nil {
		return decoded{}, authorError("%s has fields that no Job has: %s", origin, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if (j.Kind != "" && j.Kind != "Job") || (j.APIVersion != "" && j.APIVersion != "batch/v1") {
		return decoded{}, authorError("%s is a %s %s; it must be a batch/v1 Job", origin, j.APIVersion, j.Kind)
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
// (prefect1-spec §4.2), and variables without a name.
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
