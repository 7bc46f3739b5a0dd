//go:build !race

package kubernetesrun

const raceCost = 1
