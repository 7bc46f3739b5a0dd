// Package prefecttest is a stand-in for the Prefect 1.x API: GraphQL over HTTP,
// in memory, for tests and the demo. The real Prefect 1.4.1 client registers
// flows with it and executes runs against it, and the real Kubernetes agent
// works against it.
//
// It is built from prefect1-spec §1.9–1.11, §2 and §8 and from what was measured
// on a real server (prefect1-server-facts): there is no state machine, versions
// are ignored, the only lock on Submitted lasts 30 s in one API process. It knows
// nothing of Kubernetes, KEDA or our own code.
package prefecttest
