// Package kedaversions drives the scaler with KEDA's own client, of each version of KEDA that
// we support.
//
// KEDA's external scaler is compiled as it is in KEDA's module, with the versions of gRPC and
// Kubernetes that KEDA's go.mod names, into one small program for each version. The package
// it belongs to holds all of KEDA's scalers, so an overlay leaves the others out, and with
// them the libraries of a hundred services. Nothing of KEDA is kept in this tree.
//
// The tests have the build tag "kedaversions" (make keda-versions).
package kedaversions
