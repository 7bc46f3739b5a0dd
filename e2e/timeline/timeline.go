// Package timeline draws samples over time as an SVG picture: rows of step curves above one
// another on a shared time axis.
//
// Drawing is a pure function of the samples; it knows neither clocks nor
// clusters. The picture carries its own style for light and dark pages.
package timeline

import (
	"time"
)

// Picture is everything that is drawn.
type Picture struct {
	Title, Subtitle string
	Rows            []Row
	// Marks are moments worth a word; their text stands above the rows.
	Marks []Mark
	// End is the length of the time axis; everything after it is cut.
	End time.Duration
}

// Row is one panel with its own vertical axis.
type Row struct {
	Title string
	// Note follows the title in quieter ink; may be empty.
	Note   string
	Series []Series
}

// Series is a quantity over time. Each point holds until the next one.
type Series struct {
	Name string
	// Area fills the curve down to the axis.
	Area   bool
	Points []Point
}

// Point is a value from a moment on.
type Point struct {
	At    time.Duration
	Value int
}

// Mark names a moment.
type Mark struct {
	At   time.Duration
	Text string
}

// peak is the highest value drawn in the row, and at least 1.
func (r Row) peak() int {
	top := 1
	for _, s := range r.Series {
		for _, p := range s.Points {
			top = max(top, p.Value)
		}
	}
	return top
}

// tickStep is the distance of the time axis' ticks: the first round one that
// leaves at most ten of them.
func tickStep(end time.Duration) time.Duration {
	for _, s := range []time.Duration{
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 20 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	} {
		if end/s <= 10 {
			return s
		}
	}
	return end.Round(time.Hour)/10 + time.Hour
}

// ceiling is the top of a vertical axis: the first round number the peak fits
// under.
func ceiling(peak int) int {
	for unit := 1; ; unit *= 10 {
		for _, n := range []int{1, 2, 3, 4, 5, 6, 8, 10} {
			if peak <= n*unit {
				return n * unit
			}
		}
	}
}
