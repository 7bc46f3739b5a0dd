package kubernetesrun

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/location"
)

// Settings are the launcher's defaults, which a run's own run config and
// template override as prefect1 §4.2 says.
type Settings struct {
	Namespace string
	// ServiceAccountName for the flow's pod; empty leaves the template's or the
	// namespace's default. (The agent took an empty SERVICE_ACCOUNT_NAME, which its
	// own install command writes, for a value and clobbered its template with it.)
	ServiceAccountName string
	ImagePullSecrets   []string
	// Env for every flow run, in order.
	Env []EnvVar
	// Labels are those the launcher serves; the pod is told.
	Labels       []string
	LoggingLevel string // empty means INFO
	// SendFlowRunLogs false keeps the pod from sending its logs, whatever the run says.
	SendFlowRunLogs bool
	Backend         string // "server" or "cloud"
	API             string // as it was given, to the byte
	// APIKey goes to the pod as text, as the agent did, unless APIKeySecret names
	// where the pod finds it.
	APIKey       string
	APIKeySecret *corev1.SecretKeySelector
	TenantID     string
	// JobTemplate is the location of the template for runs that bring none; empty
	// means the built-in one.
	JobTemplate location.Location
	// DeleteFinishedJobs has Kubernetes remove finished Jobs after TTLSeconds,
	// unless the template says otherwise.
	DeleteFinishedJobs bool
	TTLSeconds         int32
	// PodSecurity is the level of the Pod Security Standards that pods are held to:
	// privileged, baseline, restricted; empty holds them to none.
	PodSecurity string
}

func (s Settings) hasKey() bool { return s.APIKey != "" || s.APIKeySecret != nil }

// EnvVar is a variable of the flow's container.
type EnvVar struct{ Name, Value string }

// Source reads templates that are given by location.
type Source interface {
	// Read returns the template at a location: a path or a URL. A server that is away is
	// an *job.AwayError.
	Read(ctx context.Context, location string) ([]byte, error)
}
