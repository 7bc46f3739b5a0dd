//go:build !race

package job

const raceCost = 1
