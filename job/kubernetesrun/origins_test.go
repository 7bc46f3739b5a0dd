package kubernetesrun_test

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
)

// file is a source that has one template.
type file string

func (f file) Read(context.Context, string) ([]byte, error) { return []byte(f), nil }

func TestOrigins(t *testing.T) {
	const (
		account  = "spec.template.spec.serviceAccountName"
		secret   = "spec.template.spec.imagePullSecrets[0].name"
		image    = "spec.template.spec.containers[0].image"
		key      = "spec.template.spec.containers[0].env[PREFECT__CLOUD__API_KEY]"
		ttl      = "spec.ttlSecondsAfterFinished"
		template = "spec: {ttlSecondsAfterFinished: 900, template: {spec: {serviceAccountName: a, imagePullSecrets: [{name: a}], restartPolicy: OnFailure, containers: [{image: i}]}}}"
	)
	for name, tc := range map[string]struct {
		runConfig, storage string
		settings           func(*kubernetesrun.Settings)
		want               map[string]string
	}{
		"nothing given": {want: map[string]string{
			image: "flow.core_version", "spec.template.spec.restartPolicy": "by default", "spec.template.spec.containers[0].name": "the built-in job template",
		}},
		"the launcher's": {
			settings: func(s *kubernetesrun.Settings) {
				s.ServiceAccountName, s.ImagePullSecrets, s.DeleteFinishedJobs = "l", []string{"l"}, true
				s.APIKeySecret = &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "k"}
			},
			want: map[string]string{account: "SERVICE_ACCOUNT_NAME", secret: "IMAGE_PULL_SECRETS", key: "PREFECT_KEDA_API_KEY_SECRET", ttl: "PREFECT_KEDA_JOB_TTL"},
		},
		"the launcher's against its template": {
			settings: func(s *kubernetesrun.Settings) { s.ServiceAccountName, s.JobTemplate = "l", "/t.yaml" },
			want: map[string]string{
				account: "SERVICE_ACCOUNT_NAME", secret: "the launcher's job template /t.yaml", image: "the launcher's job template /t.yaml",
				"spec.template.spec.restartPolicy": "the launcher's job template /t.yaml", ttl: "the launcher's job template /t.yaml",
			},
		},
		"the run's template against the launcher": {
			runConfig: `{"type": "KubernetesRun", "job_template_path": "/r.yaml"}`,
			settings: func(s *kubernetesrun.Settings) {
				s.ServiceAccountName, s.ImagePullSecrets, s.JobTemplate = "l", []string{"l"}, "/t.yaml"
			},
			want: map[string]string{account: "the job template /r.yaml", secret: "the job template /r.yaml"},
		},
		"the run config against all": {
			runConfig: `{"type": "KubernetesRun", "job_template_path": "/r.yaml", "image": "r", "service_account_name": "r", "image_pull_secrets": ["r"]}`,
			settings:  func(s *kubernetesrun.Settings) { s.ServiceAccountName, s.ImagePullSecrets = "l", []string{"l"} },
			want:      map[string]string{account: "run_config.service_account_name", secret: "run_config.image_pull_secrets", image: "run_config.image"},
		},
		"Docker storage against all": {
			runConfig: `{"type": "KubernetesRun", "image": "r"}`, storage: `{"type": "Docker", "image_name": "n", "image_tag": "t"}`,
			want: map[string]string{image: "flow.storage"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, s := of(run(tc.runConfig), either(tc.storage, `{"type":"Local"}`), "1.4.1"), settings()
			if tc.settings != nil {
				tc.settings(&s)
			}
			made, err := kubernetesrun.Renderer{Settings: s, Source: file(template)}.Render(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			for path, want := range tc.want {
				if got := made.Origins.Of(path); got != want {
					t.Errorf("%s is from %q, want %q", path, got, want)
				}
			}
		})
	}
}
