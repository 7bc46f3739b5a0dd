// Package cluster brings up a real kind cluster with real KEDA, on any machine:
// where images can be pulled it pulls them, where no registry can be reached it
// builds every image from package registries (Go modules, Debian, PyPI). A KEDA that is
// built has all of KEDA but the scalers of other services.
//
// It must not know what is tested on the cluster. It caches slow pieces in a directory,
// under the hash of their inputs, so a second run takes seconds and no change is missed.
package cluster
