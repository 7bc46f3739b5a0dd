// Package fake is a stand-in for a Prefect 3 server: its REST API and its event stream, in
// memory, for tests and the demo. It also behaves as older servers do, down to Prefect
// 2.20.
//
// It follows recordings of real servers (testdata/wire.jsonl, docs/spec/prefect3.md). One
// suite tries the claim, limits and leases on it and on real servers (e2e/conformance). It
// knows nothing of Kubernetes, KEDA or our own code.
//
// The server's background services run when somebody asks for something: what they would
// have done by then is done first. So the stand-in needs no goroutine, and works in a
// bubble of testing/synctest.
package fake
