//go:build race

package launcher

// sampled is how many executions of each scenario are played: with the race detector all of
// them would take three times as long, and they are played without it as well.
const sampled = 100
