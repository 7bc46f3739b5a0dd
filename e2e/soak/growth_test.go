package soak

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// idle is a process without a leak: what it uses goes up and down, and never below this.
func idle() Sample {
	return Sample{Goroutines: 60, Heap: 6 * mebibyte, Resident: 40 * mebibyte, Files: 14, Inbound: 1, Outbound: 2}
}

// noise is what comes and goes: requests and probes under way, a heap in its saw-tooth.
func noise(dice *rand.Rand) Sample {
	return Sample{
		Goroutines: float64(dice.IntN(25)), Heap: dice.Float64() * 3 * mebibyte, Resident: dice.Float64() * 8 * mebibyte, Files: float64(dice.IntN(6)),
		Inbound: float64(dice.IntN(3)), Outbound: float64(dice.IntN(4)),
	}
}

// life has a leak of so much in each quiet moment. In every third one nothing else goes on.
func life(seed uint64, moments int, leak Sample) Life {
	dice := rand.New(rand.NewPCG(seed, 1))
	l := Life{Process: "scaler"}
	for i := range moments {
		s, more := idle(), noise(dice)
		for of := range s {
			if i%3 > 0 {
				s[of] += more[of]
			}
			s[of] += leak[of] * float64(i)
		}
		l.Quiet = append(l.Quiet, s)
	}
	return l
}

// Noise is no growth, however the dice fall.
func TestNoiseIsNoGrowth(t *testing.T) {
	for seed := range uint64(500) {
		for _, moments := range []int{9, 10, 12, 40, 200} {
			if leaks := Grown(life(seed, moments, nil).Rows()); leaks != nil {
				t.Fatalf("seed %d, %d quiet moments: %q", seed, moments, leaks)
			}
		}
	}
}

// A leak of each measure is found beneath the noise: in ten minutes one of two for each round
// of load and restarts, in hours one of any size.
func TestLeakIsGrowth(t *testing.T) {
	for of, leak := range map[Measure]float64{Goroutines: 2, Heap: mebibyte, Resident: 3 * mebibyte, Files: 1, Inbound: 1, Outbound: 1} {
		for seed := range uint64(200) {
			for moments, part := range map[int]float64{10: 1, 120: 0.1} {
				leaks := Grown(life(seed, moments, Sample{of: leak * part}).Rows())
				if len(leaks) != 1 || !strings.HasPrefix(leaks[0], "scaler: "+string(of)+" grew from ") {
					t.Fatalf("seed %d: a leak of %s in %d quiet moments is told as %q", seed, of, moments, leaks)
				}
			}
		}
	}
}

// Each measure may grow by its margin, and not by more.
func TestMargins(t *testing.T) {
	for _, m := range margins() {
		for more, want := range map[float64]bool{0: false, 0.01: true} {
			l := life(1, Enough, nil)
			limit := idle()[m.of]*(1+m.share) + m.plus
			for i := range l.Quiet {
				l.Quiet[i] = idle()
				if i >= Enough-2 {
					l.Quiet[i][m.of] = limit + more
				}
			}
			if got := Grown(l.Rows()) != nil; got != want {
				t.Errorf("%s at %g more than its limit: grown is %t", m.of, more, got)
			}
		}
	}
}

// calm is a life without noise that uses so many goroutines more at each moment.
func calm(process string, moments int, more float64) Life {
	l := Life{Process: process}
	for i := range moments {
		s := idle()
		s[Goroutines] += more * float64(i)
		l.Quiet = append(l.Quiet, s)
	}
	return l
}

// A life of few quiet moments, or without a measure, is not judged by it.
func TestTooLittleToJudge(t *testing.T) {
	leak := Sample{Goroutines: 100}
	short := life(1, Enough-1, leak)
	if short.Judged() || Grown(short.Rows()) != nil {
		t.Error("a short life is judged")
	}
	if !life(1, Enough, leak).Judged() || Grown(life(1, Enough, leak).Rows()) == nil {
		t.Error("a life that is long enough is not judged")
	}
	if rows := (Life{Process: "gone"}).Rows(); rows != nil {
		t.Errorf("nobody measured it: %v", rows)
	}
	l := life(1, Enough, nil)
	for _, s := range l.Quiet {
		delete(s, Inbound)
	}
	for _, r := range l.Rows() {
		if r.Of == Inbound {
			t.Errorf("nobody measured it: %v", r)
		}
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	rows := append(calm("scaler", Enough, 3).Rows()[:2], calm("launcher", 2, 0).Rows()[:1]...)
	if err := Table(&out, rows); err != nil {
		t.Fatal(err)
	}
	const want = `process  what        first third  last third  may be   quiet moments  
scaler   goroutines  60           72          66       6              GREW
scaler   heap        6.0 MiB      6.0 MiB     8.7 MiB  6              
1 more processes lived too short a life to judge
`
	if got := out.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
