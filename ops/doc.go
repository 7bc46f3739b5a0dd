// Package ops is the port for those who operate a process: /metrics, /livez,
// /readyz, and what else they are handed; and the two pages of the Prefect 1.x
// agent's HTTP server (prefect1-spec §1.6).
//
// Live says that our own loop turns, ready that calls are accepted; neither says
// how Prefect or Kubernetes are, since being restarted, or cut off from who asks,
// would mend neither. What they look at is passed in as functions.
package ops
