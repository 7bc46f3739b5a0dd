package kube

import (
	"os"
	"strings"
)

// namespaceFile is where Kubernetes tells a pod with a service account its namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// PodNamespace is the namespace of the pod that we run in, and empty outside of pods.
func PodNamespace() string {
	text, err := os.ReadFile(namespaceFile)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
