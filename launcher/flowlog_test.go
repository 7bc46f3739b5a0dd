package launcher

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// While Prefect is slow, lines wait for more company, so that they are not most of
// what it is asked.
func TestLinesWaitForCompanyWhilePrefectIsSlow(t *testing.T) {
	for name, tc := range map[string]struct {
		latency time.Duration
		want    int // requests for a line every half second, for 20 s
	}{
		"quick":    {0, 40},
		"slow":     {500 * time.Millisecond, 8}, // 2 s of company each
		"at worst": {2 * time.Second, 3},        // 5 s
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(run("r"))
				m.slow(tc.latency)
				l, _ := alone(m)
				stop, ended := make(chan struct{}), make(chan struct{})
				go func() { defer close(ended); l.lines.write(t.Context(), stop) }()
				for range 40 {
					l.lines.add("r", "INFO", "a line")
					time.Sleep(500 * time.Millisecond)
				}
				if got := m.count("log"); got != tc.want {
					t.Errorf("%d requests, want %d", got, tc.want)
				}
				close(stop)
				<-ended
				if n := len(m.linesOf("r")); n != 40 {
					t.Errorf("%d lines were written, want 40", n)
				}
			})
		})
	}
}

// Lines are bounded by what they hold: each may be as long as a Job's YAML.
func TestLinesThatWaitAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r"))
		l, _ := alone(m)
		long := strings.Repeat("x", 1<<20)
		for range 12 {
			l.lines.add("r", "INFO", long)
		}
		if n := len(l.lines.lines); n != bytesWaiting>>20 {
			t.Errorf("%d lines of 1 MiB wait, want %d", n, bytesWaiting>>20)
		}
		if n := counter(t, l.metrics.linesDropped); n != 12-bytesWaiting>>20 {
			t.Errorf("%v lines count as dropped", n)
		}
		stop, ended := make(chan struct{}), make(chan struct{})
		go func() { defer close(ended); l.lines.write(t.Context(), stop) }()
		time.Sleep(time.Second)
		l.lines.add("r", "INFO", "another")
		close(stop)
		<-ended
		if lines := m.linesOf("r"); len(lines) != bytesWaiting>>20+1 || l.lines.bytes.Load() != 0 {
			t.Errorf("%d lines were written, and %d bytes are thought to wait", len(lines), l.lines.bytes.Load())
		}
	})
}

func TestLostLogLineIsNoMatter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r"))
		m.fault = func(op, _ string, _ bool) error {
			if op == "log" {
				return errors.New("no logs today")
			}
			return nil
		}
		b := start(t, m)
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if len(b.jobs()) != 1 || m.get("r").State.Name != "Submitted" {
			t.Errorf("%d Jobs, state %s", len(b.jobs()), m.get("r").State.Name)
		}
		if got := counter(t, b.metrics.linesDropped); got != 1 {
			t.Errorf("%v lines counted as dropped, want 1", got)
		}
	})
}
