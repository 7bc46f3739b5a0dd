// Package sidebyside measures prefect-keda beside what people have and beside the least that
// could be done: the real Prefect 1.4.1 agent, the real Kubernetes worker of Prefect 3, and bare
// loops that create the same Jobs. All are processes of this machine, before the same kind of
// stand-in for Prefect and the same API server; one runs at a time.
//
// It holds what is measured (Results), what that means (Goals), and the table and picture of it.
// It must not know how a cluster is made.
package sidebyside
