// Package job turns a flow run into the Kubernetes Job that executes it.
//
// Rendering is a pure function of the run, the launcher's settings and the
// template: no clock, no randomness, no Kubernetes client, no Prefect API. What
// a flow's author got wrong comes back as a *prefect.AuthorError in words for
// them. The rules are those of the Prefect 1.x agent (prefect1-spec §3 and §4);
// where the agent has a bug, the comment beside the code says what we do.
package job
