package launcher

import (
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
