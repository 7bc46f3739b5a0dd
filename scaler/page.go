package scaler

import (
	"fmt"
	"html"
	"strings"
	"time"
)

const (
	pageHead = `<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Demand</title>
<style>body{font:14px sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}
td,th{border:1px solid #ccc;padding:.3em .6em;text-align:left;vertical-align:top}</style><h1>Demand</h1>`
	clock = "15:04:05.000"
)

// html is the report as a page. It is put together by hand: html/template has
// the linker keep every method of every type, which costs the whole binary.
func (r report) html() string {
	p := &htmlPage{}
	p.WriteString(pageHead)
	p.paragraph("%s. The same as JSON: ask without accepting text/html.", r.At.Format("2006-01-02 "+clock+" MST"))
	p.heading("ScaledObjects")
	if len(r.ScaledObjects) == 0 {
		p.paragraph("KEDA has asked for none. Is there a ScaledObject with our address, and does KEDA reach it?")
	}
	p.table("ScaledObject", "connection", "labels", "active", "value / target = launchers", "why", "first runs", "next wake", "last asked", "streams")
	for _, o := range r.ScaledObjects {
		why := o.Reason
		if o.Err != "" {
			why += ": " + o.Err
		}
		wake := ""
		if o.NextWake != nil {
			wake = o.NextWake.Format(clock)
		}
		p.row(o.Namespace+"/"+o.Name, o.Connection, labelText(o.Labels), o.Active,
			fmt.Sprintf("%d / %d = %d", o.Value, o.Target, o.Launchers), why, lines(o.FirstRuns), wake, o.LastAsked.Format(time.TimeOnly), o.OpenStreams)
	}
	p.end()
	if len(r.Refused) > 0 {
		p.table("refused", "why", "last asked")
		for _, f := range r.Refused {
			p.row(f.Namespace+"/"+f.Name, f.Err, f.At.Format(time.TimeOnly))
		}
		p.end()
	}
	for _, c := range r.Connections {
		p.connection(c)
	}
	p.WriteString("</html>\n")
	return p.String()
}

func (p *htmlPage) connection(c connectionReport) {
	p.heading("Connection " + c.Name)
	text := fmt.Sprintf("Snapshot age: %s. Consecutive failures: %d.", c.Age, c.Failures)
	if c.Err != "" {
		text += " Last error: " + c.Err
	}
	switch {
	case c.TooLarge:
		text += " Runs wait that are too large to be read together."
	case c.Truncated:
		text += " More runs wait than one look returns."
	}
	if len(c.Unsynced) > 0 {
		text += " Jobs not listed yet in: " + strings.Join(c.Unsynced, ", ") + "."
	}
	p.paragraph("%s", text)
	if len(c.Unserved) > 0 {
		p.table("due, and no ScaledObject above serves these labels", "due", "first runs")
		for _, l := range c.Unserved {
			p.row(labelText(l.Labels), l.Due, lines(l.FirstRuns))
		}
		p.end()
	}
	p.claims("claimed without a Job", c.Missing)
	p.claims("Job waits, heartbeat due", c.Silent)
	if len(c.Troubled) > 0 {
		p.table("Job in trouble", "kind", "flow run", "labels", "what is wrong", "counts from")
		for _, d := range c.Troubled {
			p.row(d.Namespace+"/"+d.Job, d.Kind, d.FlowRun, labelText(d.Labels), d.Message, d.CountsFrom.Format(clock))
		}
		p.end()
	}
}

func (p *htmlPage) claims(what string, claims []claimReport) {
	if len(claims) == 0 {
		return
	}
	p.table(what, "labels", "launcher", "Job", "attempt", "counts from")
	for _, c := range claims {
		p.row(c.FlowRun, labelText(c.Labels), c.Launcher, c.Namespace+"/"+c.Job, c.Attempt, c.CountsFrom.Format(clock))
	}
	p.end()
}

func labelText(labels []string) string {
	if len(labels) == 0 {
		return "(none)"
	}
	return strings.Join(labels, ", ")
}

// lines is one element per line.
type lines []string

// htmlPage escapes whatever is put on it.
type htmlPage struct{ strings.Builder }

func (p *htmlPage) element(name, text string) {
	fmt.Fprintf(p, "<%s>%s</%s>", name, html.EscapeString(text), name)
}

func (p *htmlPage) heading(text string) { p.element("h2", text) }

func (p *htmlPage) paragraph(format string, args ...any) {
	p.element("p", fmt.Sprintf(format, args...))
}

func (p *htmlPage) table(titles ...string) {
	p.WriteString("<table><tr>")
	for _, t := range titles {
		p.element("th", t)
	}
	p.WriteString("</tr>\n")
}

func (p *htmlPage) row(cells ...any) {
	p.WriteString("<tr>")
	for _, c := range cells {
		if l, ok := c.(lines); ok {
			p.WriteString("<td>")
			for _, line := range l {
				p.WriteString(html.EscapeString(line) + "<br>")
			}
			p.WriteString("</td>")
			continue
		}
		p.element("td", fmt.Sprint(c))
	}
	p.WriteString("</tr>\n")
}

func (p *htmlPage) end() { p.WriteString("</table>\n") }
