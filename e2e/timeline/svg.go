package timeline

import (
	"bytes"
	"fmt"
	"html"
	"strings"
	"time"
)

// The picture's measures, in SVG user units (pixels at 100 %).
const (
	width      = 920
	left       = 52  // of the plot: room for the vertical axes' numbers
	right      = 24  // margin
	headHeight = 104 // title, subtitle, marks
	rowHead    = 30  // a row's title and legend
	rowHeight  = 92  // a row's plot
	rowGap     = 22  // between a plot and the next row's title
	footHeight = 40  // time axis
	plotWidth  = width - left - right
	charWidth  = 6.7 // of the small text, on average; for placing marks
)

// Style is that of all our pictures. It follows the page: the media query works in <img> as well.
const Style = `
  .page { fill: #ffffff } .title { fill: #14171c } .text { fill: #4a515c } .quiet { fill: #767e8a }
  .grid { stroke: #e7e9ed } .axis { stroke: #b9bfc8 } .mark { stroke: #9aa2ad }
  .c0 { stroke: #2a6fdb } .c1 { stroke: #d9601a } .c2 { stroke: #12936a } .c3 { stroke: #7a8493 }
  .f0 { fill: #2a6fdb } .f1 { fill: #d9601a } .f2 { fill: #12936a } .f3 { fill: #7a8493 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } .title { fill: #f0f3f6 } .text { fill: #b7bfca } .quiet { fill: #8b949e }
    .grid { stroke: #21262d } .axis { stroke: #4b535d } .mark { stroke: #6e7681 }
    .c0 { stroke: #5b9bf5 } .c1 { stroke: #f0883e } .c2 { stroke: #3fb98c } .c3 { stroke: #98a2af }
    .f0 { fill: #5b9bf5 } .f1 { fill: #f0883e } .f2 { fill: #3fb98c } .f3 { fill: #98a2af }
  }
  text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; font-size: 12px; font-variant-numeric: tabular-nums }
  .h1 { font-size: 18px; font-weight: 600 } .h2 { font-size: 13px } .h3 { font-size: 13px; font-weight: 600 }
  .line { fill: none; stroke-width: 2; stroke-linejoin: round } .area { stroke: none; fill-opacity: .18 }
`

// SVG draws the picture.
func (p Picture) SVG() []byte {
	var b bytes.Buffer
	height := headHeight + len(p.Rows)*(rowHead+rowHeight+rowGap) - rowGap + footHeight
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="title desc">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&b, "<title id=\"title\">%s</title>\n<desc id=\"desc\">%s</desc>\n<style>%s</style>\n",
		html.EscapeString(p.Title), html.EscapeString(p.describe()), Style)
	fmt.Fprintf(&b, `<rect class="page" width="%d" height="%d" rx="10"/>`+"\n", width, height)
	text(&b, 20, 34, "h1 title", "start", p.Title)
	text(&b, 20, 55, "h2 text", "start", p.Subtitle)
	bottom := height - footHeight
	p.drawTime(&b, bottom)
	p.drawMarks(&b)
	color := 0
	for i, r := range p.Rows {
		top := headHeight + i*(rowHead+rowHeight+rowGap)
		p.drawRow(&b, r, top, color)
		color += len(r.Series)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// x is the horizontal place of a moment.
func (p Picture) x(at time.Duration) float64 {
	if p.End <= 0 {
		return left
	}
	return left + plotWidth*float64(min(max(at, 0), p.End))/float64(p.End)
}

// describe says in words what the picture shows, for people who cannot see it.
func (p Picture) describe() string {
	var rows []string
	for _, r := range p.Rows {
		for _, s := range r.Series {
			last := 0
			if n := len(s.Points); n > 0 {
				last = s.Points[n-1].Value
			}
			rows = append(rows, fmt.Sprintf("%s: at most %d, %d at the end", s.Name, Row{Series: []Series{s}}.peak(), last))
		}
	}
	return strings.Join(append([]string{p.Subtitle}, rows...), ". ") + "."
}

func (p Picture) drawTime(b *bytes.Buffer, bottom int) {
	for at := time.Duration(0); at <= p.End; at += tickStep(p.End) {
		x := p.x(at)
		for i := range p.Rows {
			top := headHeight + i*(rowHead+rowHeight+rowGap) + rowHead
			fmt.Fprintf(b, `<path class="grid" d="M%.1f %dV%d"/>`+"\n", x, top, top+rowHeight)
		}
		text(b, x, float64(bottom)+20, "quiet", "middle", clock(at))
	}
}

// clock spells a time since the start.
func clock(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return fmt.Sprintf("%d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}

// drawMarks puts the marks' texts on two lines above the rows, so that
// neighbours do not run into each other.
func (p Picture) drawMarks(b *bytes.Buffer) {
	free := [2]float64{}
	for _, m := range p.Marks {
		x, w := p.x(m.At), charWidth*float64(len([]rune(m.Text)))
		start := x + 5
		if start+w > width-right {
			start = x - 5 - w // to the left of its line, where the right has no room
		}
		line := 0
		if start < free[0] && free[1] < free[0] {
			line = 1
		}
		free[line] = start + w + 12
		y := headHeight - 22 + 17*line
		fmt.Fprintf(b, `<path class="mark" stroke-dasharray="2 3" d="M%.1f %dv14`, x, y-10)
		for i := range p.Rows {
			fmt.Fprintf(b, "M%.1f %dv%d", x, headHeight+i*(rowHead+rowHeight+rowGap)+rowHead, rowHeight)
		}
		fmt.Fprint(b, `"/>`+"\n")
		if start < x {
			text(b, x-5, float64(y), "text", "end", m.Text)
		} else {
			text(b, start, float64(y), "text", "start", m.Text)
		}
	}
}

func (p Picture) drawRow(b *bytes.Buffer, r Row, y, color int) {
	top, bottom := y+rowHead, y+rowHead+rowHeight
	fmt.Fprintf(b, `<text x="%d" y="%d"><tspan class="h3 title">%s</tspan><tspan class="quiet" dx="9">%s</tspan></text>`+"\n",
		left, top-9, html.EscapeString(r.Title), html.EscapeString(r.Note))
	p.drawLegend(b, r, top-9, color)
	high := ceiling(r.peak())
	for _, v := range axisValues(high) {
		at := float64(bottom) - rowHeight*float64(v)/float64(high)
		class := "grid"
		if v == 0 {
			class = "axis"
		}
		fmt.Fprintf(b, `<path class="%s" d="M%d %.1fH%d"/>`+"\n", class, left, at, width-right)
		text(b, left-8, at+4, "quiet", "end", fmt.Sprint(v))
	}
	for i, s := range r.Series {
		line := p.steps(s.Points, float64(bottom), rowHeight/float64(high))
		if line == "" {
			continue
		}
		if s.Area {
			fmt.Fprintf(b, `<path class="area f%d" d="%sV%dH%.1fZ"/>`+"\n", color+i, line, bottom, p.x(s.Points[0].At))
		}
		fmt.Fprintf(b, `<path class="line c%d" d="%s"/>`+"\n", color+i, line)
	}
}

// drawLegend names the series at the row's right end.
func (p Picture) drawLegend(b *bytes.Buffer, r Row, y, color int) {
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">`, width-right, y)
	for i, s := range r.Series {
		fmt.Fprintf(b, `<tspan class="f%d" dx="%d">●</tspan><tspan class="text" dx="5">%s</tspan>`, color+i, min(i, 1)*16, html.EscapeString(s.Name))
	}
	b.WriteString("</text>\n")
}

// axisValues are the numbers on a vertical axis.
func axisValues(high int) []int {
	if high%2 == 0 {
		return []int{0, high / 2, high}
	}
	return []int{0, high}
}

// steps is the path of a step curve, to the end of the time axis.
func (p Picture) steps(points []Point, bottom, unit float64) string {
	var b strings.Builder
	before := 0
	for i, pt := range points {
		if pt.At > p.End {
			break
		}
		y := bottom - unit*float64(pt.Value)
		switch {
		case i == 0:
			fmt.Fprintf(&b, "M%.1f %.1f", p.x(pt.At), y)
		case pt.Value != before:
			fmt.Fprintf(&b, "H%.1fV%.1f", p.x(pt.At), y)
		}
		before = pt.Value
	}
	if b.Len() > 0 {
		fmt.Fprintf(&b, "H%.1f", p.x(p.End))
	}
	return b.String()
}

func text(b *bytes.Buffer, x, y float64, class, anchor, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`+"\n", x, y, class, anchor, html.EscapeString(s))
}
