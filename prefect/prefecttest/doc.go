// Package prefecttest is a stand-in for the Prefect 1.x API: GraphQL over HTTP, in
// memory, for tests and the demo. The real Prefect 1.4.1 client registers flows with it
// and executes runs against it, and the real Kubernetes agent works against it.
//
// It follows observations of the client (prefect1 §1.9–§1.11, §2, §8) and measurements of
// a real server (docs/spec/prefect1-server.md): no state machine, no version check, and
// no lock but one on Submitted, for 30 s in one API process. It knows nothing of
// Kubernetes, KEDA or our own code.
package prefecttest
