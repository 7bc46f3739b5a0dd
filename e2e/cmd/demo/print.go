package main

import (
	"fmt"
	"io"
	"time"
)

// printer writes one line per second. On a terminal a line takes the place of
// the one before as long as only the time has changed; elsewhere such a line
// is left out.
type printer struct {
	out     io.Writer
	redraws bool
	open    bool
	second  time.Duration
	last    string
}

func (p *printer) line(s sample) {
	at := s.at.Truncate(time.Second)
	text := s.String()
	// Compare without the time.
	changed := len(p.last) < 6 || text[6:] != p.last[6:]
	if p.last != "" && at == p.second || !changed && !p.redraws {
		return
	}
	if changed {
		p.end()
	}
	if p.redraws {
		fmt.Fprint(p.out, "\r\x1b[K    "+text)
		p.open = true
	} else {
		fmt.Fprintln(p.out, "    "+text)
	}
	p.second, p.last = at, text
}

func (p *printer) say(text string) {
	p.end()
	fmt.Fprintln(p.out, "  • "+text)
	p.last = ""
}

// end completes a line that could still be redrawn.
func (p *printer) end() {
	if p.open {
		fmt.Fprintln(p.out)
		p.open = false
	}
}
