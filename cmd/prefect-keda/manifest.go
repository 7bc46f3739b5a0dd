package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/location"
)

// printer writes a Job, and the Secret that goes with it, without some texts.
func printer(c *cobra.Command) (func(w io.Writer, made job.Rendering, secrets []string) error, error) {
	show, _ := c.Flags().GetBool("show-key")
	format, err := outputOf(c)
	if err != nil {
		return nil, err
	}
	return func(w io.Writer, made job.Rendering, secrets []string) error {
		if show {
			secrets = nil
		} else {
			hideKey(made.Job)
			hideValues(made.Secret)
		}
		text, err := written(made.Job, made.Origins, format, secrets)
		if err == nil && made.Secret != nil {
			var secret []byte
			if secret, err = written(made.Secret, nil, format, nil); format == "yaml" {
				text = append(text, "---\n"...)
			}
			text = append(text, secret...)
		}
		if err != nil {
			return fmt.Errorf("write the Job: %w", err)
		}
		_, err = w.Write(text)
		return err
	}, nil
}

// written is an object as text, with where its fields are from if that is known.
func written(object any, from job.Origins, format string, secrets []string) ([]byte, error) {
	text, err := manifest(object, hiding(secrets))
	if err != nil || format != "yaml" {
		return text, err
	}
	if text, err = yaml.JSONToYAML(text); err != nil || from == nil {
		return text, err
	}
	return annotated(text, from)
}

// hideKey hides it where the launcher put it, and what opens the API's URL; what an
// author wrote is theirs.
func hideKey(j *batchv1.Job) {
	env := j.Spec.Template.Spec.Containers[0].Env
	for i := range env {
		if env[i].Name == apiVariable && strings.Contains(env[i].Value, "@") {
			env[i].Value = location.Shown(env[i].Value)
		}
		if (env[i].Name == keyVariable || env[i].Name == "PREFECT__CLOUD__AUTH_TOKEN") && env[i].Value != "" {
			env[i].Value = hiddenKey
		}
	}
}

func hideValues(s *corev1.Secret) {
	if s == nil {
		return
	}
	for name := range s.StringData {
		s.StringData[name] = hiddenKey
	}
	for name := range s.Data {
		s.Data[name] = []byte(hiddenKey)
	}
}

// manifest is the object as somebody would write it: without a status.
func manifest(object any, hide *strings.Replacer) ([]byte, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	delete(fields, "status")
	text, err = json.MarshalIndent(hidden(fields, hide), "", "  ")
	return append(text, '\n'), err
}

// hidden hides texts in all values.
func hidden(value any, hide *strings.Replacer) any {
	switch v := value.(type) {
	case string:
		return hide.Replace(v)
	case []any:
		for i := range v {
			v[i] = hidden(v[i], hide)
		}
	case map[string]any:
		for name := range v {
			v[name] = hidden(v[name], hide)
		}
	}
	return value
}
