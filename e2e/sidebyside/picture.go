package sidebyside

import (
	"bytes"
	"fmt"
	"html"

	"github.com/prefect-keda/prefect-keda/e2e/timeline"
)

// The picture's measures, in SVG user units.
const (
	pictureWidth = 920
	labelWidth   = 190 // of a bar's name
	valueWidth   = 90  // behind a bar
	barHeight    = 18
	barGap       = 7
	panelHead    = 34
	panelGap     = 26
	pictureHead  = 76
)

// bar is one line of a panel.
type bar struct {
	of    Contender
	value float64
	text  string
}

// panel is a comparison of one thing.
type panel struct {
	title string
	bars  []bar
}

func (r Results) panels() (all []panel) {
	burst := func(title string, far int, value func(Burst) (float64, string)) {
		p := panel{title: title}
		for _, c := range Contenders() {
			if m, ok := r.Burst(c, LargeBurst, far); ok {
				v, text := value(m)
				p.bars = append(p.bars, bar{c, v, text})
			}
		}
		all = append(all, p)
	}
	rate := func(b Burst) (float64, string) { return b.Rate, fmt.Sprintf("%.0f", b.Rate) }
	burst(fmt.Sprintf("Jobs a second, %d runs due at once", LargeBurst), 0, rate)
	burst(fmt.Sprintf("Jobs a second, the same with APIs %d ms away", FarMS), FarMS, rate)
	burst("CPU for a Job", 0, func(b Burst) (float64, string) { return b.CPUMS, milliseconds(b.CPUMS) })
	idle := panel{title: "Memory while nothing is due"}
	for _, c := range Contenders() {
		m, ok := r.IdleOf(c)
		if !ok {
			continue
		}
		idle.bars = append(idle.bars, bar{m.Contender, m.MemoryMiB, fmt.Sprintf("%.0f MiB", m.MemoryMiB)})
	}
	return append(all, idle)
}

// Picture draws the results as an SVG.
func (r Results) Picture() []byte {
	panels := r.panels()
	height := pictureHead
	for _, p := range panels {
		height += panelHead + len(p.bars)*(barHeight+barGap) + panelGap
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="title desc">`+"\n",
		pictureWidth, height, pictureWidth, height)
	const title = "prefect-keda beside the agent, the worker and bare loops"
	fmt.Fprintf(&b, "<title id=\"title\">%s</title>\n<desc id=\"desc\">%s</desc>\n<style>%s</style>\n", title, html.EscapeString(describe(panels)), timeline.Style)
	fmt.Fprintf(&b, `<rect class="page" width="%d" height="%d" rx="10"/>`+"\n", pictureWidth, height)
	write := func(x, y int, class, anchor, s string) {
		fmt.Fprintf(&b, `<text x="%d" y="%d" class="%s" text-anchor="%s">%s</text>`+"\n", x, y, class, anchor, html.EscapeString(s))
	}
	write(20, 34, "h1 title", "start", title)
	write(20, 55, "h2 text", "start", fmt.Sprintf("One after the other on %d cores that Kubernetes shares. The fair loop sends one bare claim and creates the Job; the bare loop only creates it.", r.Machine.CPUs))
	y := pictureHead
	for _, p := range panels {
		write(20, y+20, "h3 title", "start", p.title)
		y += panelHead
		most := 0.0
		for _, each := range p.bars {
			most = max(most, each.value)
		}
		for _, each := range p.bars {
			length := (pictureWidth - 20 - labelWidth - valueWidth) * each.value / most
			fmt.Fprintf(&b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`+"\n", color(each.of), 20+labelWidth, y, max(length, 1), barHeight)
			write(20+labelWidth-10, y+13, "text", "end", string(each.of))
			write(20+labelWidth+int(length)+8, y+13, "text", "start", each.text)
			y += barHeight + barGap
		}
		y += panelGap
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// color tells ours from what people have and from the loops.
func color(of Contender) string {
	switch of {
	case Ours1, Ours3:
		return "f0"
	case Agent, Worker:
		return "f1"
	default:
		return "f3"
	}
}

// describe says in words what the picture shows, for people who cannot see it.
func describe(panels []panel) string {
	var b bytes.Buffer
	for _, p := range panels {
		fmt.Fprintf(&b, "%s:", p.title)
		for i, each := range p.bars {
			fmt.Fprintf(&b, "%s %s %s", map[bool]string{true: "", false: ","}[i == 0], each.of, each.text)
		}
		b.WriteString(". ")
	}
	return b.String()
}
