package main

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/e2e/timeline"
)

func looks() []sample {
	return []sample{
		{at: 100 * time.Millisecond, states: map[string]int{}},
		{at: 400 * time.Millisecond, due: 2, states: map[string]int{"Scheduled": 2}},
		{at: 1100 * time.Millisecond, due: 2, wanted: 1, states: map[string]int{"Scheduled": 2}},
		{at: 2200 * time.Millisecond, launchers: 1, wanted: 1, active: 2, states: map[string]int{"Submitted": 1, "Running": 1}},
		{at: 3200 * time.Millisecond, launchers: 1, wanted: 1, active: 2, states: map[string]int{"Submitted": 1, "Running": 1}},
		{at: 64 * time.Second, succeeded: 2, states: map[string]int{"Success": 2}, well: 2},
	}
}

func printed(redraws bool) string {
	var out bytes.Buffer
	p := printer{out: &out, redraws: redraws}
	for i, s := range looks() {
		if i == 1 {
			p.say("two")
		}
		p.line(s)
	}
	p.end()
	return out.String()
}

func TestPlainLinesAreWrittenWhenSomethingChanged(t *testing.T) {
	want := `    00:00  due 0   launchers 0  jobs   0 active   0 done
  • two
    00:00  due 2   launchers 0  jobs   0 active   0 done  2 Scheduled
    00:02  due 0   launchers 1  jobs   2 active   0 done  1 Running, 1 Submitted
    01:04  due 0   launchers 0  jobs   0 active   2 done  2 Success
`
	if diff := cmp.Diff(want, printed(false)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestATerminalSeesTheTimePass(t *testing.T) {
	const again = "\r\x1b[K    "
	want := again + "00:00  due 0   launchers 0  jobs   0 active   0 done\n" +
		"  • two\n" +
		again + "00:00  due 2   launchers 0  jobs   0 active   0 done  2 Scheduled" +
		again + "00:01  due 2   launchers 0  jobs   0 active   0 done  2 Scheduled\n" +
		again + "00:02  due 0   launchers 1  jobs   2 active   0 done  1 Running, 1 Submitted" +
		again + "00:03  due 0   launchers 1  jobs   2 active   0 done  1 Running, 1 Submitted\n" +
		again + "01:04  due 0   launchers 0  jobs   0 active   2 done  2 Success\n"
	if diff := cmp.Diff(want, printed(true)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDraw(t *testing.T) {
	got := draw(looks(), []mark{{time.Second, "now"}}, "the real client", "in the pool p")
	point := func(ms, v int) timeline.Point {
		return timeline.Point{At: time.Duration(ms) * time.Millisecond, Value: v}
	}
	want := timeline.Picture{
		Title:    "From zero, and back to zero",
		Subtitle: "2 flow runs on a local kind cluster, with the real client: all 2 succeeded, and nothing is left running",
		End:      64 * time.Second,
		Rows: []timeline.Row{
			{Title: "Due flow runs", Note: "in the pool p", Series: []timeline.Series{
				{Name: "due", Area: true, Points: []timeline.Point{point(100, 0), point(400, 2), point(2200, 0)}},
			}},
			{Title: "Launchers", Note: "scaled by KEDA", Series: []timeline.Series{
				{Name: "pods", Area: true, Points: []timeline.Point{point(100, 0), point(2200, 1), point(64000, 0)}},
			}},
			{Title: "Jobs", Note: "one for each flow run", Series: []timeline.Series{
				{Name: "active", Area: true, Points: []timeline.Point{point(100, 0), point(2200, 2), point(64000, 0)}},
				{Name: "succeeded", Points: []timeline.Point{point(100, 0), point(64000, 2)}},
			}},
		},
		Marks: []timeline.Mark{{At: time.Second, Text: "now"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The demo is over when everything succeeded and is at zero, and has failed as
// soon as that cannot come any more.
func TestAtZero(t *testing.T) {
	done := sample{succeeded: 2, well: 2}
	for _, tc := range []struct {
		name   string
		change func(*sample)
		yes    bool
		err    string
	}{
		{"done", func(*sample) {}, true, ""},
		{"a run is missing", func(s *sample) { s.well = 1 }, false, ""},
		{"a launcher is there", func(s *sample) { s.launchers = 1 }, false, ""},
		{"a launcher is wanted", func(s *sample) { s.wanted = 1 }, false, ""},
		{"a Job is at work", func(s *sample) { s.active = 1 }, false, ""},
		{"a Job failed", func(s *sample) { s.failed = 1 }, false, "a flow run's Job failed"},
		{"a flow failed, its Job did not", func(s *sample) { s.badly = "Failed" }, false, "a flow run is Failed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := done
			tc.change(&s)
			yes, err := s.atZero(2)
			if got := fmt.Sprint(err); yes != tc.yes || tc.err == "" && err != nil || tc.err != "" && got != tc.err {
				t.Errorf("atZero = %v, %v, want %v, %q", yes, err, tc.yes, tc.err)
			}
		})
	}
}

func TestCount(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	var got sample
	got.count([]flowRun{
		{state: "Scheduled", waits: true, due: now},
		{state: "Scheduled", waits: true, due: now.Add(time.Second)},
		{state: "Late", waits: true, due: now.Add(-time.Second)},
		{state: "Running", due: now.Add(-time.Second)},
		{state: "Completed", ended: true, well: true},
		{state: "Crashed", ended: true},
	}, now)
	want := sample{due: 2, well: 1, badly: "Crashed", states: map[string]int{"Scheduled": 2, "Late": 1, "Running": 1, "Completed": 1, "Crashed": 1}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(sample{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
