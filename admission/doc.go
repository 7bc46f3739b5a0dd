// Package admission finds out whether Kubernetes takes a Job, and who has to act if it
// does not: the flow's author, the operator, or nobody because the cause passes.
//
// It asks by dry runs and RBAC reviews and remembers the answers for seconds. The caller
// decides about the flow run.
package admission
