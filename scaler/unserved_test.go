package scaler

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// wantGauges compares the gauges whose names are in the lines, without their help.
func wantGauges(t *testing.T, c prometheus.Collector, lines ...string) {
	t.Helper()
	var want strings.Builder
	var names []string
	help := map[string]string{}
	descriptions := make(chan *prometheus.Desc, 100)
	c.Describe(descriptions)
	close(descriptions)
	for d := range descriptions {
		_, rest, _ := strings.Cut(d.String(), `fqName: "`)
		name, rest, _ := strings.Cut(rest, `", help: "`)
		help[name], _, _ = strings.Cut(rest, `", unit`)
	}
	for _, line := range lines {
		name := metricPrefix + line[:strings.IndexAny(line, "{ ")]
		if !slices.Contains(names, name) {
			names = append(names, name)
			fmt.Fprintf(&want, "# HELP %s %s\n# TYPE %s gauge\n", name, help[name], name)
		}
		fmt.Fprintf(&want, "%s%s\n", metricPrefix, line)
	}
	if err := testutil.CollectAndCompare(c, strings.NewReader(want.String()), names...); err != nil {
		t.Error(err)
	}
}

// Due runs that no ScaledObject serves are counted while they are due, and so is how long
// the first of them has waited. Whoever serves some of them leaves the others.
func TestUnservedRunsAreCounted(t *testing.T) {
	f := &fakeSource{}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		began := time.Now()
		f.set(run("a", began.Add(-10*time.Minute), "gpu"), run("b", began, "gpu"), run("c", began.Add(time.Hour), "gpu"), run("d", began.Add(-time.Minute), "etl"))
		pass(time.Second)
		age := time.Since(began).Seconds()
		wantGauges(t, newGauges(s.service), `runs_unserved{connection="default"} 3`, fmt.Sprintf(`runs_unserved_longest_seconds{connection="default"} %v`, 600+age))
		wantActive(t, s, true, "labels=gpu")
		wantGauges(t, newGauges(s.service), `runs_unserved{connection="default"} 1`, fmt.Sprintf(`runs_unserved_longest_seconds{connection="default"} %v`, 60+age))
		wantActive(t, s, true, "labels=etl")
		wantGauges(t, newGauges(s.service), `runs_unserved{connection="default"} 0`, `runs_unserved_longest_seconds{connection="default"} 0`)
	})
}

// A run for which Prefect gives no time is due, and says nothing of how long others have been.
func TestUnservedRunWithoutATime(t *testing.T) {
	f := &fakeSource{}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		began := time.Now()
		f.set(run("a", time.Time{}, "gpu"))
		pass(time.Second)
		wantGauges(t, newGauges(s.service), `runs_unserved{connection="default"} 1`, `runs_unserved_longest_seconds{connection="default"} 0`)
		f.set(run("a", time.Time{}, "gpu"), run("b", began.Add(-time.Minute), "gpu"))
		pass(10 * time.Second)
		wantGauges(t, newGauges(s.service), `runs_unserved{connection="default"} 2`,
			fmt.Sprintf(`runs_unserved_longest_seconds{connection="default"} %v`, 60+time.Since(began).Seconds()))
	})
}

// A snapshot is stale before Prefect has answered and again when its last answer is too old.
// Both show, though the age does only once there is one.
func TestStaleSnapshotShows(t *testing.T) {
	f := &fakeSource{err: errors.New("502")}
	o := bubbleOptions(f)
	o.MaxStaleness = 2 * time.Minute
	inBubble(t, o, func(t *testing.T, s *Server) {
		g := newGauges(s.service)
		wantGauges(t, g, `snapshot_stale{connection="default"} 1`)
		f.change(func(f *fakeSource) { f.err = nil })
		pass(10 * time.Second)
		wantGauges(t, g, `snapshot_stale{connection="default"} 0`)
		f.change(func(f *fakeSource) { f.err = errors.New("502") })
		pass(100 * time.Second)
		wantGauges(t, g, `snapshot_stale{connection="default"} 0`)
		pass(time.Minute)
		wantGauges(t, g, `snapshot_stale{connection="default"} 1`)
	})
}

// When KEDA last asked stays known, unlike a ScaledObject that no longer does.
func TestConnectionShowsWhenKEDALastAsked(t *testing.T) {
	inBubble(t, bubbleOptions(&fakeSource{}), func(t *testing.T, s *Server) {
		g := newGauges(s.service)
		asked := func() string {
			return fmt.Sprintf(`connection_last_asked_timestamp_seconds{connection="default"} %v`, float64(time.Now().UnixNano())/1e9)
		}
		start := asked()
		pass(time.Minute)
		wantGauges(t, g, start)
		wantActive(t, s, false)
		now := asked()
		pass(time.Hour)
		s.service.sweep(time.Now())
		wantGauges(t, g, now)
		if _, err := active(t, s, "label=etl"); err == nil {
			t.Fatal("no error")
		}
		wantGauges(t, g, now) // who is refused has not asked
	})
}

func TestReadinessShows(t *testing.T) {
	var missing error
	ready := readiness(func() error { return missing })
	wantGauges(t, ready, "ready 1")
	missing = errors.New("the Role is missing")
	wantGauges(t, ready, "ready 0")
}
