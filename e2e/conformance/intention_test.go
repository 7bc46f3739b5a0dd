//go:build conformance

package conformance

import (
	"maps"
	"slices"
	"testing"
)

// intention is a difference that is meant: a case where it is seen is levelled,
// and whatever differs after that is not meant.
type intention[R any] struct {
	why   string
	level func(r *R) bool
}

// tell logs how often each intention was seen and what came of the cases. It fails if one
// was never seen.
func tell[R any](t *testing.T, intentions []intention[R], seen, outcomes map[string]int, cases int) {
	t.Helper()
	for _, intended := range intentions {
		t.Logf("%5d times: %s", seen[intended.why], intended.why)
		if seen[intended.why] == 0 {
			t.Errorf("never seen: %s. Take it off the list, or have a case show it", intended.why)
		}
	}
	for _, outcome := range slices.Sorted(maps.Keys(outcomes)) {
		t.Logf("%5d of %d cases: %s", outcomes[outcome], cases, outcome)
	}
}
