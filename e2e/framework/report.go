package framework

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
)

// Report collects the scenarios' measurements. It shows goals for times beside the numbers,
// but nobody asserts them: a slow machine is not the product's fault.
type Report struct {
	out  io.Writer
	mu   sync.Mutex
	rows [][3]string
}

// Measured adds a measurement; goal may be empty.
func (r *Report) Measured(t *testing.T, what, value, goal string) {
	t.Helper()
	line := "measured: " + what + ": " + value
	if goal != "" {
		line += " (goal " + goal + ")"
	}
	t.Log(line)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows, [3]string{what, value, goal})
}

// Bounded adds a measurement that does not depend on the machine's speed, and fails the test
// if it is above the limit.
func (r *Report) Bounded(t *testing.T, what string, value, limit float64, unit string) {
	t.Helper()
	r.Measured(t, what, fmt.Sprintf("%.1f %s", value, unit), fmt.Sprintf("≤ %g %s", limit, unit))
	if value > limit {
		t.Errorf("%s: %.1f %s is above the limit of %g", what, value, unit, limit)
	}
}

// Print closes the report with a table.
func (r *Report) Print() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rows) == 0 {
		return
	}
	fmt.Fprintln(r.out, "==> measured")
	w := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
	for _, row := range append([][3]string{{"what", "value", "goal"}}, r.rows...) {
		fmt.Fprintln(w, "  "+strings.TrimRight(strings.Join(row[:], "\t"), "\t"))
	}
	w.Flush()
}
