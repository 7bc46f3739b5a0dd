// Package ops serves the operators' port of a process: /metrics, /livez, /readyz and
// further pages; and the two pages of the Prefect 1.x agent's HTTP server (prefect1 §1.6).
//
// Live means that our own loop turns, ready that we accept calls. Neither depends on
// Prefect or Kubernetes: restarting us, or taking us out of a Service, would not repair
// them. The caller passes in what live and ready check, as functions.
package ops
