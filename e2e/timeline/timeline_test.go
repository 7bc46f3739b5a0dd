package timeline

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden picture")

const second = time.Second

func picture() Picture {
	return Picture{
		Title:    "From zero and back",
		Subtitle: "34 flow runs <& all> of them succeeded",
		End:      125 * second,
		Rows: []Row{
			{Title: "Due runs", Note: "waiting to be claimed", Series: []Series{
				{Name: "due", Area: true, Points: []Point{{0, 0}, {5 * second, 3}, {8 * second, 0}, {40 * second, 30}, {43 * second, 0}, {100 * second, 1}, {101 * second, 0}}},
			}},
			{Title: "Launchers", Series: []Series{
				{Name: "ready", Area: true, Points: []Point{{0, 0}, {7 * second, 1}, {22 * second, 0}, {41 * second, 2}, {70 * second, 0}, {92 * second, 1}, {115 * second, 0}}},
			}},
			{Title: "Jobs", Series: []Series{
				{Name: "running", Area: true, Points: []Point{{0, 0}, {7 * second, 3}, {14 * second, 0}, {42 * second, 30}, {60 * second, 10}, {75 * second, 0}, {100 * second, 1}, {104 * second, 0}}},
				{Name: "succeeded", Points: []Point{{0, 0}, {14 * second, 3}, {60 * second, 23}, {75 * second, 33}, {104 * second, 34}}},
			}},
		},
		Marks: []Mark{{5 * second, "3 ad-hoc runs"}, {40 * second, "burst of 30"}, {42 * second, "and one more"}, {100 * second, "scheduled run is due"}},
	}
}

func TestSVG(t *testing.T) {
	const golden = "testdata/timeline.svg"
	got := picture().SVG()
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("the picture changed (-want +got); look at it, then run go test ./e2e/timeline -update:\n%s", diff)
	}
}

// A browser draws nothing of a picture that is not well-formed.
func TestSVGIsWellFormed(t *testing.T) {
	for name, p := range map[string]Picture{"full": picture(), "empty": {}, "no points": {Title: "x", End: second, Rows: []Row{{Series: []Series{{Name: "n", Area: true}}}}}} {
		d := xml.NewDecoder(bytes.NewReader(p.SVG()))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
		}
	}
}

func TestSteps(t *testing.T) {
	p := Picture{End: 10 * second}
	for _, tc := range []struct {
		name   string
		points []Point
		want   string
	}{
		{"nothing seen", nil, ""},
		{"holds to the end", []Point{{0, 2}}, "M52.0 80.0H896.0"},
		{"a value that stays adds no corner", []Point{{0, 2}, {second, 2}, {5 * second, 0}}, "M52.0 80.0H474.0V100.0H896.0"},
		{"cut at the end", []Point{{0, 1}, {11 * second, 5}}, "M52.0 90.0H896.0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := p.steps(tc.points, 100, 10); got != tc.want {
				t.Errorf("steps = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestRoundAxes(t *testing.T) {
	for peak, want := range map[int]int{1: 1, 2: 2, 7: 8, 10: 10, 11: 20, 34: 40, 200: 200, 201: 300} {
		if got := ceiling(peak); got != want {
			t.Errorf("ceiling(%d) = %d, want %d", peak, got, want)
		}
	}
	for end, want := range map[time.Duration]time.Duration{8 * second: second, 125 * second: 15 * second, 4 * time.Minute: 30 * second, time.Hour: 10 * time.Minute} {
		if got := tickStep(end); got != want {
			t.Errorf("tickStep(%s) = %s, want %s", end, got, want)
		}
	}
}
