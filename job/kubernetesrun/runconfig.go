package kubernetesrun

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// runConfig is a decoded KubernetesRun (prefect1 §3.2). A nil pointer is a
// field that was absent or null.
type runConfig struct {
	Env              []EnvVar
	JobTemplate      template // inline; empty when there is none
	JobTemplatePath  string
	Image            string
	CPULimit         string
	CPURequest       string
	MemoryLimit      string
	MemoryRequest    string
	ServiceAccount   *string
	ImagePullSecrets []string
	ImagePullPolicy  *string
}

// knownRunConfigs are Prefect's other run configs, which the agent names in its refusal.
func knownRunConfigs() []string { return []string{"LocalRun", "DockerRun", "ECSRun", "VertexRun"} }

// authorError is an error in what the flow's author gave.
func authorError(format string, args ...any) error {
	return &prefect.AuthorError{Message: job.Shortened(fmt.Sprintf(format, args...), maxMessage)}
}

// decodeRunConfig reads a run's run config. The texts of the errors Prefect
// itself had are kept; they are what authors search for.
func decodeRunConfig(runID string, raw json.RawMessage) (runConfig, error) {
	if len(bytes.TrimSpace(raw)) == 0 || string(bytes.TrimSpace(raw)) == "null" {
		return runConfig{}, nil
	}
	if err := checkRunConfig(raw); err != nil {
		return runConfig{}, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return runConfig{}, authorError("the run_config is not an object: %v", err)
	}
	kind, present, err := stringField(fields, "type")
	switch {
	case err != nil:
		return runConfig{}, err
	case !present:
		return runConfig{}, authorError("{'type': ['Missing data for required field.']}")
	case slices.Contains(knownRunConfigs(), kind):
		return runConfig{}, authorError("Flow run %s has a `run_config` of type `%s`, only `KubernetesRun` is supported", runID, kind)
	case kind != "KubernetesRun" && kind != "UniversalRun":
		return runConfig{}, authorError("{'type': ['Unsupported value: %s']}", kind)
	}
	if string(bytes.TrimSpace(fields["labels"])) == "null" {
		return runConfig{}, authorError("{'labels': ['Field may not be null.']}")
	}
	if _, err := stringsField(fields, "labels"); err != nil {
		return runConfig{}, err
	}
	var rc runConfig
	if rc.Env, err = envField(fields["env"]); err != nil {
		return runConfig{}, err
	}
	if kind == "UniversalRun" {
		return rc, nil
	}
	return rc, rc.decodeKubernetes(fields)
}

func (rc *runConfig) decodeKubernetes(fields map[string]json.RawMessage) error {
	for name, into := range map[string]*string{
		"cpu_limit": &rc.CPULimit, "cpu_request": &rc.CPURequest,
		"memory_limit": &rc.MemoryLimit, "memory_request": &rc.MemoryRequest,
		"image": &rc.Image, "job_template_path": &rc.JobTemplatePath,
	} {
		v, _, err := stringField(fields, name)
		if err != nil {
			return err
		}
		*into = v
	}
	for name, into := range map[string]**string{"service_account_name": &rc.ServiceAccount, "image_pull_policy": &rc.ImagePullPolicy} {
		v, present, err := stringField(fields, name)
		if err != nil {
			return err
		}
		if present {
			*into = &v
		}
	}
	if p := rc.ImagePullPolicy; p != nil && !slices.Contains([]string{"Always", "IfNotPresent", "Never"}, *p) {
		return authorError("Invalid image_pull_policy '%s'.  Expected 'Always', 'IfNotPresent', or 'Never'", *p)
	}
	var err error
	if rc.ImagePullSecrets, err = stringsField(fields, "image_pull_secrets"); err != nil {
		return err
	}
	if raw := fields["job_template"]; isSet(raw) {
		rc.JobTemplate = template{JSON: raw, FromRun: true, Origin: "the run_config's job_template"}
		var text string
		if json.Unmarshal(raw, &text) == nil {
			rc.JobTemplate.YAML, rc.JobTemplate.JSON = []byte(text), nil
			// Text that says nothing is no template, as null is none.
			if isBlank(rc.JobTemplate.YAML) {
				rc.JobTemplate = template{}
			}
		}
	}
	if rc.JobTemplate.isGiven() && rc.JobTemplatePath != "" {
		return authorError("Cannot provide both `job_template_path` and `job_template`")
	}
	return nil
}

func (rc runConfig) bringsTemplate() bool {
	return rc.JobTemplate.isGiven() || rc.JobTemplatePath != ""
}

// authorsAccount is the service account of the run's Job if its author may have chosen
// it, in the run config or in a template that the run brings.
func (rc runConfig) authorsAccount(j *batchv1.Job) job.Account {
	field := "serviceAccountName in the job template"
	if rc.ServiceAccount != nil {
		field = "service_account_name in the run config"
	} else if !rc.bringsTemplate() {
		return job.Account{}
	}
	pod := j.Spec.Template.Spec
	// The second is the first's old name, which Kubernetes still takes.
	return job.Account{Name: cmp.Or(pod.ServiceAccountName, pod.DeprecatedServiceAccount), Field: field}
}

func isSet(raw json.RawMessage) bool {
	return len(raw) > 0 && string(bytes.TrimSpace(raw)) != "null"
}

// stringField reads an optional string; a number is an error, as it was.
func stringField(fields map[string]json.RawMessage, name string) (value string, present bool, err error) {
	raw := fields[name]
	if !isSet(raw) {
		return "", false, nil
	}
	if err := json.Unmarshal(raw, &value); err != nil {
		return "", false, authorError("{'%s': ['Not a valid string.']}", name)
	}
	return value, true, nil
}

func stringsField(fields map[string]json.RawMessage, name string) ([]string, error) {
	raw := fields[name]
	if !isSet(raw) {
		return nil, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, authorError("{'%s': ['Not a valid list.']}", name)
	}
	texts, wrong := make([]string, len(list)), []string(nil)
	for i, item := range list {
		switch {
		case !isSet(item):
			wrong = append(wrong, fmt.Sprintf("%d: ['Field may not be null.']", i))
		case json.Unmarshal(item, &texts[i]) != nil:
			wrong = append(wrong, fmt.Sprintf("%d: ['Not a valid string.']", i))
		}
	}
	if len(wrong) > 0 {
		return nil, authorError("{'%s': {%s}}", name, strings.Join(wrong, ", "))
	}
	return texts, nil
}

// envField reads an object of variables, in the order it is written in: the
// order reaches the container.
func envField(raw json.RawMessage) ([]EnvVar, error) {
	if !isSet(raw) {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, authorError("{'env': ['Not a valid mapping type.']}")
	}
	var env []EnvVar
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, authorError("the run_config's env does not parse: %v", err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, authorError("the run_config's env does not parse: %v", err)
		}
		v := EnvVar{Name: fmt.Sprint(name)}
		// A null leaves the value empty, as Kubernetes did with the agent's.
		if err := json.Unmarshal(value, &v.Value); err != nil {
			return nil, authorError("env %q of the run_config is %s: values of environment variables must be strings, so put it in quotes", v.Name, value)
		}
		env = append(env, v)
	}
	return env, nil
}
