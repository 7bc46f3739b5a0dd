package scaler

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func labelsSeen(s *seen) map[string]int {
	out := map[string]int{}
	for _, so := range s.all() {
		out[fmt.Sprintf("%s%s", so, so.trigger.Labels)]++
	}
	return out
}

func TestEditedMetadataIsForgotten(t *testing.T) {
	s := newSeen(Options{}.withDefaults())
	ask := func(name, labels string, after time.Duration) {
		s.find("flows", name, map[string]string{"labels": labels}, at(after))
	}
	ask("etl", "old", 0)
	ask("slow", "a", 0)
	ask("two-triggers", "a", 0)
	ask("two-triggers", "b", 0)
	s.find("flows", "streaming", map[string]string{"labels": "old"}, at(0)).streams.Add(1)
	ask("streaming", "new", 2*time.Minute)
	ask("etl", "new", 2*time.Minute)
	ask("two-triggers", "a", 2*time.Minute)
	ask("two-triggers", "b", 2*time.Minute+time.Second)
	s.sweep(at(3 * time.Minute))
	want := map[string]int{
		"flows/etl[new]": 1, "flows/slow[a]": 1, "flows/two-triggers[a]": 1, "flows/two-triggers[b]": 1,
		"flows/streaming[old]": 1, "flows/streaming[new]": 1,
	}
	if diff := cmp.Diff(want, labelsSeen(s)); diff != "" {
		t.Error(diff)
	}
	s.sweep(at(time.Hour))
	if diff := cmp.Diff(map[string]int{"flows/streaming[old]": 1}, labelsSeen(s)); diff != "" {
		t.Error(diff)
	}
}

func TestStrangersCannotFillTheMemory(t *testing.T) {
	s := newSeen(Options{}.withDefaults())
	for i := range maxSeen + 10 {
		if so := s.find("flows", fmt.Sprint(i), map[string]string{"labels": "a"}, noon); so.err != nil || so.known != (i < maxSeen) {
			t.Fatalf("number %d: known %v, %v", i, so.known, so.err)
		}
	}
	if n := len(s.all()); n != maxSeen {
		t.Errorf("%d are remembered", n)
	}
}

// TestEqualHashesAreTwoMetadata: the hash finds an entry, it does not prove it.
func TestEqualHashesAreTwoMetadata(t *testing.T) {
	s := newSeen(Options{}.withDefaults())
	a, b := map[string]string{"labels": "a"}, map[string]string{"labels": "b"}
	s.objects[seenKey{"flows", "etl", s.hash(b)}] = s.find("flows", "etl", a, noon)
	if diff := cmp.Diff([]string{"b"}, s.find("flows", "etl", b, noon).trigger.Labels); diff != "" {
		t.Error(diff)
	}
	if one, other := s.hash(map[string]string{"a": "1", "b": "2"}), s.hash(map[string]string{"b": "2", "a": "1"}); one != other {
		t.Error("the hash depends on the order")
	}
}
