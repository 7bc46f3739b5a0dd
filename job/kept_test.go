package job

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// However many texts there are, and however large, few of them are kept.
func TestKeptTextsAreBounded(t *testing.T) {
	known := &Kept[string]{}
	for i := range 200 {
		for _, size := range []int{100, maxKeptText / 2, maxKeptText} {
			raw := fmt.Sprintf("%d %s", i, strings.Repeat("x", size))
			got, err := known.Open([]byte(raw), func(raw []byte) (string, error) { return "decoded " + string(raw), nil })
			if err != nil || got != "decoded "+raw {
				t.Fatalf("text %d: %.20s, %v", i, got, err)
			}
		}
	}
	bytes := 0
	for text := range known.known {
		bytes += len(text)
		if len(text) > maxKeptText {
			t.Errorf("a text of %d bytes is kept", len(text))
		}
	}
	if bytes != known.bytes || bytes > maxKept || len(known.known) == 0 {
		t.Errorf("%d bytes are kept and %d counted, want at most %d", bytes, known.bytes, maxKept)
	}
}

func TestKeptTextsAreDecodedOnce(t *testing.T) {
	known, decoded := &Kept[int]{}, 0
	for range 3 {
		if n, err := known.Open([]byte("a"), func([]byte) (int, error) { decoded++; return 7, nil }); n != 7 || err != nil {
			t.Fatal(n, err)
		}
	}
	if decoded != 1 {
		t.Errorf("decoded %d times, want 1", decoded)
	}
	wrong := errors.New("wrong")
	for range 2 {
		if _, err := known.Open([]byte("b"), func([]byte) (int, error) { return 0, wrong }); !errors.Is(err, wrong) {
			t.Errorf("%v, want %v each time", err, wrong)
		}
	}
}
