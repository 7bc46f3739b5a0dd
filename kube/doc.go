// Package kube reaches the Kubernetes API: from inside a pod or through a
// kubeconfig, at a rate that was chosen, with a deadline on every call, and after
// asking whether we may do what we are going to do.
//
// It knows nothing of Prefect and nothing of what its callers do; the permissions
// listed here are theirs, and the manifests are compared with them.
package kube
