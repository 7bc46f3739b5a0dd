// Package job holds what the Jobs of all flow runs have in common: their names, which
// are the lock, their labels, the fields they must not have, and how long they stay.
//
// It is pure: no clock, no randomness, no Kubernetes client, no Prefect API. A renderer,
// one for each kind of backend (job/kubernetesrun today), makes the Jobs.
package job
