package main

import (
	"fmt"

	"github.com/prefect-keda/prefect-keda/e2e/timeline"
)

// draw makes the picture of what was seen with a client, of runs that waited in a place.
func draw(samples []sample, marks []mark, client, place string) timeline.Picture {
	curve := func(name string, area bool, value func(sample) int) timeline.Series {
		s := timeline.Series{Name: name, Area: area}
		for i, look := range samples {
			v := value(look)
			if i > 0 && v == value(samples[i-1]) {
				continue
			}
			s.Points = append(s.Points, timeline.Point{At: look.at, Value: v})
		}
		return s
	}
	p := timeline.Picture{
		Title: "From zero, and back to zero",
		Rows: []timeline.Row{
			{Title: "Due flow runs", Note: place, Series: []timeline.Series{
				curve("due", true, func(s sample) int { return s.due }),
			}},
			{Title: "Launchers", Note: "scaled by KEDA", Series: []timeline.Series{
				curve("pods", true, func(s sample) int { return s.launchers }),
			}},
			{Title: "Jobs", Note: "one for each flow run", Series: []timeline.Series{
				curve("active", true, func(s sample) int { return s.active }),
				curve("succeeded", false, func(s sample) int { return s.succeeded }),
			}},
		},
	}
	for _, m := range marks {
		p.Marks = append(p.Marks, timeline.Mark{At: m.at, Text: m.text})
	}
	if n := len(samples); n > 0 {
		last := samples[n-1]
		p.End = last.at
		p.Subtitle = fmt.Sprintf("%d flow runs on a local kind cluster, with %s: all %d succeeded, and nothing is left running", total(last), client, last.well)
	}
	return p
}

func total(s sample) int {
	n := 0
	for _, v := range s.states {
		n += v
	}
	return n
}
