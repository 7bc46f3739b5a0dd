package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// progress prints one line when a step begins and completes it with its time,
// so that a person sees what takes long while it does.
type progress struct{ w io.Writer }

func (p progress) step(what string, do func() error) error {
	fmt.Fprintf(p.w, "  • %s …\n", what)
	start := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	fmt.Fprintf(p.w, "    %s: done in %s\n", what, time.Since(start).Round(100*time.Millisecond))
	return nil
}

func (p progress) cached(what string) { fmt.Fprintf(p.w, "  • %s: there already\n", what) }

func (p progress) note(format string, args ...any) { fmt.Fprintf(p.w, "  • "+format+"\n", args...) }

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
