package jobs

import (
	"strings"
	"testing"
	"testing/iotest"
)

// However a log comes, in one piece or byte by byte, its end is kept, and not more.
func FuzzEndOf(f *testing.F) {
	f.Add("the last words", 4, 100)
	f.Add(strings.Repeat("x", 200)+"end", 16, 1000)
	f.Add("", 1, 1)
	f.Fuzz(func(t *testing.T, log string, keep, most int) {
		if keep < 1 || keep > 1<<10 || most < 0 {
			return
		}
		whole, err := endOf(strings.NewReader(log), keep, most)
		slow, slowErr := endOf(iotest.OneByteReader(strings.NewReader(log)), keep, most)
		if whole != slow || (err == nil) != (slowErr == nil) {
			t.Fatalf("%q, %v; byte by byte %q, %v", whole, err, slow, slowErr)
		}
		switch end := strings.TrimPrefix(whole, cut); {
		case err != nil:
			if len(log) <= most {
				t.Fatal(err)
			}
		case len(log) > most:
			t.Fatalf("%d bytes of at most %d are read", len(log), most)
		case len(log) <= keep && whole != log, len(log) > keep && (len(whole) != len(cut)+keep || !strings.HasSuffix(log, whole[len(cut):])):
			t.Fatalf("%q ends %q", log, end)
		}
	})
}
