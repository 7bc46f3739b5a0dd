package page

import (
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/scaler/hour"
)

func TestLasted(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 0: "0 ms", 120 * time.Millisecond: "120 ms", 1234 * time.Millisecond: "1.2 s", 42 * time.Second: "42 s",
		time.Minute: "1 min", 3*time.Minute + 5*time.Second: "3 min 5 s", 2*time.Hour + 5*time.Minute: "2 h 5 min", 76 * time.Hour: "3 d 4 h", 24 * time.Hour: "1 d",
	} {
		if got := lasted(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

func TestGrouped(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -5000: "-5,000"} {
		if got := grouped(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func due(of ...int) *hour.Timeline {
	l := &hour.Timeline{}
	for _, n := range of {
		s := hour.Sample{Known: true, Due: n}
		if n < 0 {
			s = hour.Sample{}
		}
		l.Samples = append(l.Samples, s)
	}
	return l
}

func TestCurves(t *testing.T) {
	for _, tc := range []struct {
		name             string
		of               []int
		line, area, gaps string
	}{
		{"nothing", nil, "", "", ""},
		{"a value that stays adds no corner", []int{1, 1, 0}, "M0 0H4V100H6", "M0 0H4V100H6V100H0Z", ""},
		{"a burst", []int{0, 4, 2, 0}, "M0 100H2V0H4V50H6V100H8", "M0 100H2V0H4V50H6V100H8V100H0Z", ""},
		{"not known at first", []int{-1, -1, 1}, "M4 0H6", "M4 0H6V100H4Z", "M0 0H4V100H0Z"},
		{"a gap", []int{1, -1, 1, -1}, "M0 0H2M4 0H6", "M0 0H2V100H0ZM4 0H6V100H4Z", "M2 0H4V100H2ZM6 0H8V100H6Z"},
	} {
		r := draw(due(tc.of...), "due", "", "", quantity{"due", 0, true, func(s hour.Sample) int { return s.Due }})
		if s := r.Series[0]; s.Line != tc.line || s.Area != tc.area || r.Gaps != tc.gaps {
			t.Errorf("%s: line %q, area %q, gaps %q", tc.name, s.Line, s.Area, r.Gaps)
		}
	}
}

func TestCurvesInWords(t *testing.T) {
	l := due(0, 1500, 3)
	l.Samples[1].Demand = 1500
	if got, want := timelineRows(l)[0].Describe, "due: 3 now, at most 1,500. all there is to do: 0 now, at most 1,500."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A row of troubles is there if there were any.
func TestTroublesHaveARow(t *testing.T) {
	l := due(0, 0)
	if got := len(timelineRows(l)); got != 3 {
		t.Errorf("%d rows", got)
	}
	l.Samples[0].Troubled = 1
	if got := len(timelineRows(l)); got != 4 {
		t.Errorf("%d rows with troubles", got)
	}
	if got := timelineRows(nil); got != nil {
		t.Errorf("%d rows of nothing", len(got))
	}
}

func TestCeiling(t *testing.T) {
	for peak, want := range map[int]int{1: 1, 7: 8, 11: 20, 150: 200, 201: 300, 65534: 80000} {
		if got := ceiling(peak); got != want {
			t.Errorf("%d: %d, want %d", peak, got, want)
		}
	}
}
