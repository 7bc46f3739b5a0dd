package backoff

import (
	"math"
	"testing"
	"time"
)

func TestGrowing(t *testing.T) {
	g := Growing{First: time.Second, Longest: 10 * time.Second}
	for failures, want := range map[int]time.Duration{-1: 1, 0: 1, 1: 1, 2: 2, 3: 4, 4: 8, 5: 10, 6: 10, 1000: 10} {
		if got := g.After(failures); got != want*time.Second {
			t.Errorf("after %d failures %s, want %s", failures, got, want*time.Second)
		}
	}
	if got := (Growing{First: time.Minute, Longest: time.Second}).After(3); got != time.Second {
		t.Errorf("the first pause is above the longest: %s", got)
	}
	if got := (Growing{First: 1, Longest: math.MaxInt64}).After(1000); got != math.MaxInt64 {
		t.Errorf("it overflows: %d", got)
	}
}

func TestSpread(t *testing.T) {
	var below, above bool
	for range 1000 {
		d := Jitter(nil).Spread(time.Minute, 0.2)
		if d < 48*time.Second || d > time.Minute {
			t.Fatalf("%s is not a minute, or up to a fifth less", d)
		}
		below, above = below || d < 51*time.Second, above || d > 57*time.Second
	}
	if !below || !above {
		t.Error("it is always nearly the same")
	}
	for drawn, want := range map[float64]time.Duration{0: time.Minute, 0.5: 54 * time.Second} {
		if d := Jitter(func() float64 { return drawn }).Spread(time.Minute, 0.2); d != want {
			t.Errorf("with %v drawn it is %s, want %s", drawn, d, want)
		}
	}
}
