// Package cluster brings up a real kind cluster with real KEDA, on any machine:
// where images can be pulled it pulls them, where no registry can be reached it
// builds every image from package registries (Go modules, Debian, PyPI).
//
// It must not know what is tested on the cluster. What is slow to make is kept
// in a cache directory under a name that is the hash of what it was made from,
// so a second run takes seconds and a change is never missed.
package cluster
