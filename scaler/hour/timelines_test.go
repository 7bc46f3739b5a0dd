package hour_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/scaler/hour"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return noon.Add(d) }

func entry(s hour.Sample) map[string]hour.Entry {
	s.Known = true
	return map[string]hour.Entry{"flows/etl": {Sample: s, Connection: "default"}}
}

// tail are the last samples.
func tail(t *testing.T, l *hour.Timelines, now time.Time, n int) []hour.Sample {
	t.Helper()
	line, ok := l.Of("flows/etl", now)
	if !ok || len(line.Samples) != hour.Kept {
		t.Fatalf("%d samples, %v", len(line.Samples), ok)
	}
	return line.Samples[hour.Kept-n:]
}

func due(n int) hour.Sample { return hour.Sample{Known: true, Due: n} }

func TestBurstOfASecondShows(t *testing.T) {
	var l hour.Timelines
	for i := range 25 {
		n := 0
		if i == 13 {
			n = 40
		}
		l.Round(at(time.Duration(i)*time.Second), entry(due(n)))
	}
	if diff := cmp.Diff([]hour.Sample{{}, due(0), due(40), due(0)}, tail(t, &l, at(24*time.Second), 4)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Before the start, while Prefect does not answer and while the process was stopped, nobody knows.
func TestWhatNobodyKnowsIsNotZero(t *testing.T) {
	var l hour.Timelines
	l.Round(at(0), entry(hour.Sample{}))
	l.Round(at(10*time.Second), map[string]hour.Entry{"flows/etl": {}})
	l.Round(at(20*time.Second), entry(hour.Sample{Running: 3}))
	l.Round(at(50*time.Second), entry(hour.Sample{}))
	want := []hour.Sample{{}, due(0), {}, {Known: true, Running: 3}, {}, {}, due(0)}
	if diff := cmp.Diff(want, tail(t, &l, at(59*time.Second), 7)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]hour.Sample{due(0), {}, {}}, tail(t, &l, at(75*time.Second), 3)); diff != "" {
		t.Errorf("later (-want +got):\n%s", diff)
	}
}

// Whatever is seen when, the hour shows it as a plain list of rounds would.
func TestHourIsThatOfAPlainList(t *testing.T) {
	var l hour.Timelines
	seen := map[int]hour.Sample{}
	rounds := 0
	for i := range 2000 { // five hours and a half
		if i%97 == 50 || i > 900 && i < 1300 {
			continue // nobody looked, once for more than an hour
		}
		s := due(0)
		if i%7 == 3 && i > 600 {
			s.Due, s.Troubled = i%50, 1
		}
		seen[i] = s
		l.Round(at(time.Duration(i)*hour.Every), entry(s))
		if rounds++; rounds%90 > 0 && i < 1995 {
			continue
		}
		var want []hour.Sample
		for k := i - hour.Kept + 1; k <= i; k++ {
			want = append(want, seen[k])
		}
		if diff := cmp.Diff(want, tail(t, &l, at(time.Duration(i)*hour.Every), hour.Kept)); diff != "" {
			t.Fatalf("round %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestTooLargeNumbersAreCut(t *testing.T) {
	var l hour.Timelines
	l.Round(at(0), entry(hour.Sample{Due: 1 << 30, Running: -1}))
	if diff := cmp.Diff([]hour.Sample{{Known: true, Due: 65534}}, tail(t, &l, at(0), 1)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestGoneObjectsAreForgottenAndTooManyHaveNone(t *testing.T) {
	var l hour.Timelines
	all := map[string]hour.Entry{}
	for i := range hour.MaxTimelines + 10 {
		all[fmt.Sprint(i)] = hour.Entry{Sample: due(1)}
	}
	l.Round(at(0), all)
	has := 0
	for name := range all {
		if _, ok := l.Of(name, at(0)); ok {
			has++
		}
	}
	if has != hour.MaxTimelines {
		t.Errorf("%d have a timeline, want %d", has, hour.MaxTimelines)
	}
	l.Round(at(time.Second), entry(due(1)))
	if _, ok := l.Of("1", at(0)); ok {
		t.Error("a ScaledObject that is gone is remembered")
	}
	if _, ok := l.Of("flows/etl", at(0)); !ok {
		t.Error("there is no room again")
	}
}

// 1,000 busy ScaledObjects take 4.2 MiB, and quiet ones next to nothing.
func TestMemory(t *testing.T) {
	for name, tc := range map[string]struct {
		due  int
		most uint64
	}{"busy": {1, 6 << 20}, "quiet": {0, 512 << 10}} {
		all := map[string]hour.Entry{}
		for i := range hour.MaxTimelines {
			all[fmt.Sprintf("team-%d/launcher", i)] = hour.Entry{Sample: due(tc.due)}
		}
		l := &hour.Timelines{}
		before := heap()
		for i := range 2 * hour.Kept {
			l.Round(at(time.Duration(i)*hour.Every), all)
		}
		if after := heap(); after > before+tc.most {
			t.Errorf("%s: %.1f MiB, want at most %.1f", name, float64(after-before)/(1<<20), float64(tc.most)/(1<<20))
		} else {
			t.Logf("%s: %.2f MiB", name, float64(int64(after)-int64(before))/(1<<20))
		}
		runtime.KeepAlive(all)
		runtime.KeepAlive(l)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Launchers count while they are wanted and for the cooldown after that.
func TestTotals(t *testing.T) {
	var l hour.Timelines
	round := func(from, to int, launchers, replaces int, known bool) {
		for i := from; i < to; i++ {
			l.Round(at(time.Duration(i)*time.Second), map[string]hour.Entry{
				"flows/etl": {Sample: hour.Sample{Known: known, Launchers: launchers}, Connection: "default", Replaces: replaces},
				"flows/ml":  {Sample: hour.Sample{Known: true}, Connection: "other"},
			})
		}
	}
	round(0, 100, 0, 1, true)
	round(100, 130, 3, 2, true)  // three for 30 s
	round(130, 300, 1, 2, true)  // and for a minute more; then one
	round(300, 400, 0, 2, false) // nobody knows, and KEDA changes nothing
	round(400, 500, 0, 1, true)  // still one, for the rest of its minute: that is over
	got, since := l.Totals()
	want := map[string]hour.Total{
		"default": {Replaced: (99 + 30 + 170 + 100 + 300/3 + 30 + 170 + 100) * time.Second, Launchers: 0},
		"other":   {Replaced: 499 * time.Second},
	}
	// Each second counts with what was up at its beginning.
	want["default"] = hour.Total{Replaced: want["default"].Replaced, Launchers: (3*(30+60) + (300 - 190) + 100) * time.Second}
	if diff := cmp.Diff(want, got); diff != "" || !since.Equal(noon) {
		t.Errorf("since %s (-want +got):\n%s", since, diff)
	}
}

// A process that was stopped does not know whether launchers were up.
func TestTimeThatNobodySawDoesNotCount(t *testing.T) {
	var l hour.Timelines
	l.Round(at(0), entry(hour.Sample{}))
	l.Round(at(time.Hour), entry(hour.Sample{}))
	l.Round(at(time.Minute), entry(hour.Sample{})) // the clock was set back
	got, _ := l.Totals()
	if diff := cmp.Diff(map[string]hour.Total{"default": {Replaced: hour.Every}}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestCooldownIsThatOfTheManifests(t *testing.T) {
	text, err := os.ReadFile("../../manifests/base/launcher/scaledobject.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if says := fmt.Sprintf("\n  cooldownPeriod: %.0f\n", hour.Cooldown.Seconds()); !strings.Contains(string(text), says) {
		t.Errorf("the ScaledObject does not have %q", says)
	}
}
