// Package workpool turns a Prefect 3 flow run of a Kubernetes work pool into the Kubernetes
// Job that executes it: the pool's base job template with the job variables of pool,
// deployment and flow run, as the real worker renders it (prefect3 §3). The Job is the
// worker's, field by field; where we differ, the comment beside the code says why.
//
// Rendering is a pure function of the run's objects, the launcher's settings, and the
// blocks and variables that the template names: no clock, no randomness, no Kubernetes
// client. What an author got wrong comes back as a *prefect.AuthorError that says what to
// change and where it stands.
package workpool
