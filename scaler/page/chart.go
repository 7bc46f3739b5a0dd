package page

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prefect-keda/prefect-keda/scaler/hour"
)

// The measures of a row's curve, in SVG user units. The page stretches it, so it holds no text
// and no circle.
const (
	chartWidth  = 2 * hour.Kept
	chartHeight = 100
)

// row is one panel of a timeline: curves above one another would hide each other.
type row struct {
	// Name is for references within the page.
	Name string
	// Title and Note are its heading.
	Title, Note string
	Series      []series
	// High is the top of its axis.
	High int
	// Gaps are the times of which nobody knows, as a path.
	Gaps string
	// Describe says what the curves show, for people who cannot see them.
	Describe string
}

// Drawn are the series in the order in which to draw them: the first is on top.
func (r row) Drawn() []series {
	all := slices.Clone(r.Series)
	slices.Reverse(all)
	return all
}

// series is a quantity over time.
type series struct {
	Name string
	// Color is the number of its color.
	Color int
	// Line is the curve's path, and Area that of all below; empty if only the line is drawn.
	Line, Area string
	// Now is the latest value, and Most the highest.
	Now, Most int
}

// quantity is what a series draws.
type quantity struct {
	name  string
	color int
	area  bool
	of    func(hour.Sample) int
}

// timelineRows are the panels of one ScaledObject. Troubles have one only if there were any.
func timelineRows(t *hour.Timeline) []row {
	if t == nil {
		return nil
	}
	rows := []row{
		draw(t, "due", "Due flow runs", "waiting for a launcher",
			quantity{"due", 0, true, func(s hour.Sample) int { return s.Due }},
			quantity{"all there is to do", 3, false, func(s hour.Sample) int { return s.Demand }}),
		draw(t, "launchers", "Launchers wanted", "as KEDA is told",
			quantity{"wanted", 1, true, func(s hour.Sample) int { return s.Launchers }}),
		draw(t, "jobs", "Jobs", "one for each flow run",
			quantity{"running", 2, true, func(s hour.Sample) int { return s.Running }},
			quantity{"waiting for their pod", 4, false, func(s hour.Sample) int { return s.Waiting }}),
	}
	troubles := draw(t, "troubles", "Troubles", "Jobs that need a launcher",
		quantity{"in trouble", 5, true, func(s hour.Sample) int { return s.Troubled }})
	if troubles.Series[0].Most > 0 {
		rows = append(rows, troubles)
	}
	return rows
}

func draw(t *hour.Timeline, name, title, note string, of ...quantity) row {
	r := row{Name: name, Title: title, Note: note, Gaps: gaps(t.Samples)}
	peak := 1
	for _, s := range t.Samples {
		for _, q := range of {
			peak = max(peak, q.of(s))
		}
	}
	r.High = ceiling(peak)
	var said []string
	for _, q := range of {
		s := series{Name: q.name, Color: q.color, Line: line(t.Samples, q, r.High, false)}
		if q.area {
			s.Area = line(t.Samples, q, r.High, true)
		}
		for _, sample := range t.Samples {
			s.Most = max(s.Most, q.of(sample))
		}
		if n := len(t.Samples); n > 0 {
			s.Now = q.of(t.Samples[n-1])
		}
		r.Series = append(r.Series, s)
		said = append(said, fmt.Sprintf("%s: %s now, at most %s", q.name, grouped(s.Now), grouped(s.Most)))
	}
	r.Describe = strings.Join(said, ". ") + "."
	return r
}

// line is the path of a step curve, with gaps where nobody knows. Closed, each piece goes
// back along the axis.
func line(samples []hour.Sample, q quantity, high int, closed bool) string {
	var b strings.Builder
	begin, before := -1, 0
	end := func(x int) {
		if begin < 0 {
			return
		}
		fmt.Fprintf(&b, "H%d", x)
		if closed {
			fmt.Fprintf(&b, "V%dH%dZ", chartHeight, begin)
		}
		begin = -1
	}
	for i, s := range samples {
		x := i * chartWidth / hour.Kept
		if !s.Known {
			end(x)
			continue
		}
		switch n := q.of(s); {
		case begin < 0:
			begin, before = x, n
			fmt.Fprintf(&b, "M%d %s", x, height(n, high))
		case n != before:
			before = n
			fmt.Fprintf(&b, "H%dV%s", x, height(n, high))
		}
	}
	end(len(samples) * chartWidth / hour.Kept)
	return b.String()
}

// height is the vertical place of a value.
func height(n, high int) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", chartHeight*(1-float64(n)/float64(high))), ".0")
}

// gaps are rectangles over the times of which nobody knows.
func gaps(samples []hour.Sample) string {
	var b strings.Builder
	for i := 0; i < len(samples); i++ {
		from := i
		for i < len(samples) && !samples[i].Known {
			i++
		}
		if i > from {
			fmt.Fprintf(&b, "M%d 0H%dV%dH%dZ", from*chartWidth/hour.Kept, i*chartWidth/hour.Kept, chartHeight, from*chartWidth/hour.Kept)
		}
	}
	return b.String()
}

// ceiling is the top of an axis: the first round number that the peak fits under.
func ceiling(peak int) int {
	for unit := 1; ; unit *= 10 {
		for _, n := range []int{1, 2, 3, 4, 5, 6, 8, 10} {
			if peak <= n*unit {
				return n * unit
			}
		}
	}
}
