// Package kubernetesrun turns a Prefect 1.x flow run, with its KubernetesRun run config,
// into the Kubernetes Job that executes it.
//
// Rendering is a pure function of the run, the launcher's settings and the
// template: no clock, no randomness, no Kubernetes client, no Prefect API. What a
// flow's author got wrong comes back as a *prefect.AuthorError in words for
// them. The rules are those of the Prefect 1.x agent (prefect1 §3, §4);
// where the agent has a bug, the comment beside the code says what we do.
package kubernetesrun
