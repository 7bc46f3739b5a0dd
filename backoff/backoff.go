// Package backoff says how long to pause before the next try: longer after each failure,
// and not in step with others that began at the same time. It only computes; the caller
// waits.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Growing is a pause that doubles with each failure in a row.
type Growing struct{ First, Longest time.Duration }

// After is the pause after so many failures in a row: First after none or one, and never
// more than Longest.
func (g Growing) After(failures int) time.Duration {
	pause := min(g.First, g.Longest)
	for range failures - 1 {
		if pause > g.Longest/2 { // before doubling could overflow
			return g.Longest
		}
		pause *= 2
	}
	return pause
}

// Jitter draws a number from 0 up to, but not including, 1. Nil draws at random; tests
// inject their own, so that they know each pause.
type Jitter func() float64

// Spread shortens d by a random part of up to that share. It never makes d longer, so d
// still bounds the pause.
func (j Jitter) Spread(d time.Duration, share float64) time.Duration {
	if j == nil {
		j = rand.Float64 //nolint:gosec // spreads load, guards nothing
	}
	return time.Duration(float64(d) * (1 - share*j()))
}
