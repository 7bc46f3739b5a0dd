//go:build race

package kubernetesrun

// raceCost is how much more the race detector allocates for the same work: it
// keeps a shadow of it.
const raceCost = 8
