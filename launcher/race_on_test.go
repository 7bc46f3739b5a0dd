//go:build race

package launcher

// raced: the race detector makes all of this several times as slow. `make unit` runs these tests
// without it as well, so with it the longest are shortened or left out.
const raced = true
