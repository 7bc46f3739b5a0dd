package workpool

import (
	corev1 "k8s.io/api/core/v1"
)

// Settings are the launcher's part in the Jobs of all runs.
type Settings struct {
	// Namespace is that of the launcher, where Jobs go unless their authors say otherwise.
	Namespace string
	// Namespaces are all in which the launcher may create Jobs, beside Namespace.
	Namespaces []string
	// WorkerName is the name in labels and variables of pods, which the UI shows.
	WorkerName string
	// APIURL is where pods reach Prefect.
	APIURL string
	// APIKey and AuthString go to the pod as texts unless their Secrets say where the pod
	// finds them.
	APIKey           string
	APIKeySecret     *corev1.SecretKeySelector
	AuthString       string
	AuthStringSecret *corev1.SecretKeySelector
	// Env is for every pod, in order. What a pool, deployment or run sets wins.
	Env []corev1.EnvVar
	// DefaultImage is for runs that name none; empty takes Prefect's own of the server's version.
	DefaultImage string
	// TemplateEnv are the variables of the launcher's environment that templates may read
	// as {{ $NAME }}.
	TemplateEnv map[string]string
	// TemplateSecrets says what becomes of values from blocks in env.
	TemplateSecrets TemplateSecrets
	// StoreEnvAsSecret treats all values in env as if they were from blocks.
	StoreEnvAsSecret bool
	// DeleteFinishedJobs has Kubernetes remove finished Jobs after TTLSeconds, unless the
	// template says otherwise.
	DeleteFinishedJobs bool
	TTLSeconds         int32
	// PodSecurity is the level of the Pod Security Standards that pods are held to:
	// privileged, baseline, restricted; empty holds them to none.
	PodSecurity string
}

// TemplateSecrets says what becomes of values from blocks in env. Everybody who may read
// Jobs reads env.
type TemplateSecrets string

const (
	// InSecret puts them into a Secret of the Job; it is the default.
	InSecret TemplateSecrets = "secret"
	// Inline leaves them in the Job, as the worker does.
	Inline TemplateSecrets = "inline"
	// Refuse fails the run.
	Refuse TemplateSecrets = "refuse"
)
