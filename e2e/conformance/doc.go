// Package conformance compares with the real Prefect from PyPI. The real Prefect 1.4.1
// client and the real Kubernetes agent run against the stand-in API: what they accept from
// it, we may rely on. Real servers of Prefect 3 and 2 do what our stand-in for them does.
// The tests have the build tag "conformance" (make conformance).
package conformance
