// Package launcher claims due flow runs, creates their Kubernetes Jobs, and
// leaves when nothing is due.
//
// A pass is observe, plan, act. What is due and what is claimed is read from
// the backend, Jobs are watched, NewPlan decides in a pure function, and each
// action is carried out by a worker of its own. Every action may be repeated,
// by this launcher or another: the Job's name is the lock, so at most one Job
// exists for an attempt at a run, and a claim whose Job is missing is finished
// by whoever meets it.
//
// The package knows neither a backend's wire format nor how a Job is rendered, and
// package trouble judges the pods. Prefect 1.x agent behaviour it keeps is in
// prefect1 §1.4; what the server does and does not guarantee, and why a
// state is read again right before it is written, is in prefect1-server §a–§c.
package launcher
