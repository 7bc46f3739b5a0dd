//go:build !race

package launcher

// sampled is 0: every execution is played.
const sampled = 0
