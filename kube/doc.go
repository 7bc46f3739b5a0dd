// Package kube reaches the Kubernetes API: from inside a pod or through a
// kubeconfig, at a chosen rate and with a deadline on every call. It also asks the
// API server beforehand whether we have the permissions we need.
//
// It knows nothing of Prefect and does not know its callers. The permissions listed
// here are what they need; a test compares the manifests with them.
package kube
