package cluster

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// progress prints a line when a step begins, every minute while it runs, and when it is
// done, with its time. So a person sees which step takes long. It sums up at the end.
type progress struct {
	start  time.Time
	reused int
	steps  []timing

	mu    sync.Mutex
	w     io.Writer
	depth int
}

// silence is how long a step may run without a line.
const silence = time.Minute

type timing struct {
	what string
	took time.Duration
}

func newProgress(w io.Writer) *progress { return &progress{w: w, start: time.Now()} }

func (p *progress) step(what string, do func() error) error {
	p.say("  • %s …", what)
	start := time.Now()
	quiet := p.speakUp(what)
	err := do()
	quiet()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	took := time.Since(start)
	p.steps = append(p.steps, timing{what, took})
	p.say("    %s: done in %s", what, took.Round(100*time.Millisecond))
	return nil
}

// speakUp prints every minute that the step still runs, until it is quieted. Of nested
// steps only the innermost speaks.
func (p *progress) speakUp(what string) (quiet func()) {
	p.mu.Lock()
	p.depth++
	depth := p.depth
	p.mu.Unlock()
	ended := make(chan struct{})
	var ticking sync.WaitGroup
	ticking.Go(func() {
		tick := time.NewTicker(silence)
		defer tick.Stop()
		for n := time.Duration(1); ; n++ {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			p.mu.Lock()
			if p.depth == depth {
				fmt.Fprintf(p.w, "    %s: at work for %s\n", what, n*silence)
			}
			p.mu.Unlock()
		}
	})
	return func() {
		close(ended)
		ticking.Wait()
		p.mu.Lock()
		p.depth--
		p.mu.Unlock()
	}
}

func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// cached counts a piece that exists already; the summary gives the number.
func (p *progress) cached() { p.reused++ }

func (p *progress) note(format string, args ...any) { p.say("  • "+format, args...) }

// summary is the last line of a run: how long it took and what took longest.
// Steps contain steps, so their times do not add up to the total.
func (p *progress) summary(what string) {
	slices.SortStableFunc(p.steps, func(a, b timing) int { return cmp.Compare(b.took, a.took) })
	var slowest []string
	for _, s := range p.steps[:min(4, len(p.steps))] {
		slowest = append(slowest, fmt.Sprintf("%s %s", s.what, s.took.Round(100*time.Millisecond)))
	}
	line := fmt.Sprintf("    %s in %s; pieces there already: %d", what, time.Since(p.start).Round(100*time.Millisecond), p.reused)
	if len(slowest) > 0 {
		line += "; slowest: " + strings.Join(slowest, ", ")
	}
	p.say("%s", line)
}

// command is a program to run; its output is shown only when it fails.
type command struct {
	name  string
	args  []string
	dir   string
	env   []string
	stdin io.Reader
}

func run(ctx context.Context, c command) (string, error) {
	cmd := exec.CommandContext(ctx, c.name, c.args...)
	cmd.Dir, cmd.Stdin = c.dir, c.stdin
	cmd.Env = append(os.Environ(), c.env...)
	// A grandchild may keep the pipes open after the child was killed.
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	var all both
	cmd.Stdout = io.MultiWriter(&out, &all)
	cmd.Stderr = &all
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", c.name, strings.Join(c.args, " "), err, tail(all.String(), 40))
	}
	return out.String(), nil
}

// both is standard output and standard error in the order they came, from two
// goroutines.
type both struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *both) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String must be called after the last write.
func (b *both) String() string { return b.text.String() }

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
