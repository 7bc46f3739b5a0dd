// Package conformance runs the real Prefect 1.4.1 client and the real Kubernetes
// agent, from PyPI, against the stand-in API: what they accept from it, we may
// rely on. Its tests have the build tag "conformance" (make conformance).
package conformance
