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
	"time"
)

// progress prints one line when a step begins and completes it with its time,
// so that a person sees what takes long while it does, and sums up at the end.
type progress struct {
	w      io.Writer
	start  time.Time
	reused int
	steps  []timing
}

type timing struct {
	what string
	took time.Duration
}

func newProgress(w io.Writer) *progress { return &progress{w: w, start: time.Now()} }

func (p *progress) step(what string, do func() error) error {
	fmt.Fprintf(p.w, "  • %s …\n", what)
	start := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	took := time.Since(start)
	p.steps = append(p.steps, timing{what, took})
	fmt.Fprintf(p.w, "    %s: done in %s\n", what, took.Round(100*time.Millisecond))
	return nil
}

// cached counts a piece that is there already; the summary says how many.
func (p *progress) cached() { p.reused++ }

func (p *progress) note(format string, args ...any) { fmt.Fprintf(p.w, "  • "+format+"\n", args...) }

// summary is the last line of a run: how long it took and what took longest.
// Steps contain steps, so their times do not add up to the total.
func (p *progress) summary(what string) {
	slices.SortStableFunc(p.steps, func(a, b timing) int { return cmp.Compare(b.took, a.took) })
	var slowest []string
	for _, s := range p.steps[:min(4, len(p.steps))] {
		slowest = append(slowest, fmt.Sprintf("%s %s", s.what, s.took.Round(100*time.Millisecond)))
	}
	fmt.Fprintf(p.w, "    %s in %s; pieces there already: %d", what, time.Since(p.start).Round(100*time.Millisecond), p.reused)
	if len(slowest) > 0 {
		fmt.Fprintf(p.w, "; slowest: %s", strings.Join(slowest, ", "))
	}
	fmt.Fprintln(p.w)
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
	var out, all bytes.Buffer
	cmd.Stdout = io.MultiWriter(&out, &all)
	cmd.Stderr = &all
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", c.name, strings.Join(c.args, " "), err, tail(all.String(), 40))
	}
	return out.String(), nil
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
