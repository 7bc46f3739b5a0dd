package scaler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// met is what asked, as the service meets it.
func met(s *registry, name string, now time.Time, metadata ...string) *scaledObject {
	so, _ := remember(s, name, now, metadata...)
	return so
}

// remember also tells how many were forgotten for it.
func remember(s *registry, name string, now time.Time, metadata ...string) (*scaledObject, int) {
	r := ref(name, metadata...)
	if so := s.find(r.Namespace, r.Name, r.ScalerMetadata, now); so != nil {
		return so, 0
	}
	t, err := parseTrigger(r.ScalerMetadata, 0)
	if err != nil {
		panic(err)
	}
	return s.keep(&scaledObject{namespace: r.Namespace, name: r.Name, metadata: r.ScalerMetadata, trigger: t}, now)
}

func labelsSeen(s *registry) map[string]int {
	out := map[string]int{}
	for _, so := range s.all() {
		out[fmt.Sprintf("%s%s", so, so.trigger.Scope.Labels)]++
	}
	return out
}

func TestEditedMetadataIsForgotten(t *testing.T) {
	s := newRegistry(Options{}.withDefaults())
	ask := func(name, labels string, after time.Duration) {
		met(s, name, at(after), "labels="+labels)
	}
	ask("etl", "old", 0)
	ask("slow", "a", 0)
	ask("two-triggers", "a", 0)
	ask("two-triggers", "b", 0)
	if !s.open(met(s, "streaming", at(0), "labels=old")) {
		t.Fatal("no stream")
	}
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

// Who asked longest ago goes first, but for who has a stream open.
func TestTheLongestSilentAreForgottenFirst(t *testing.T) {
	s := newRegistry(Options{}.withDefaults())
	text := "labels=" + strings.Repeat("x", maxMetadata/2)
	asks := func(name string, after time.Duration) int {
		_, forgotten := remember(s, name, at(after), text)
		return forgotten
	}
	asks("streaming", 0)
	asks("silent", 0)
	asks("asks", 0)
	if !s.open(met(s, "streaming", at(0), text)) {
		t.Fatal("no stream")
	}
	forgotten := 0
	for i := 0; forgotten == 0; i++ {
		asks("asks", time.Duration(i)*time.Second)
		forgotten = asks(fmt.Sprint("stranger-", i), time.Duration(i)*time.Second)
		if s.bytes > maxRemembered {
			t.Fatalf("%d bytes are kept, more than %d", s.bytes, maxRemembered)
		}
	}
	all := labelsSeen(s)
	for name, want := range map[string]int{"streaming": 1, "silent": 0, "asks": 1, "stranger-0": 0} {
		if got := all["flows/"+name+"["+text[len("labels="):]+"]"]; got != want {
			t.Errorf("%s is remembered %d times, want %d", name, got, want)
		}
	}
	if s.bytes > maxRemembered*3/4 || s.bytes < maxRemembered/2 {
		t.Errorf("%d bytes are left of %d", s.bytes, maxRemembered)
	}
	s.closed(met(s, "streaming", at(0), text))
	s.sweep(at(24 * time.Hour))
	if s.bytes != 0 || s.streams != 0 || len(s.objects) != 0 {
		t.Errorf("of nobody %d bytes and %d streams are left", s.bytes, s.streams)
	}
}

// With every one held by a stream, the next is answered and not remembered, and
// gets no stream that would hold on to it.
func TestNoRoomBesideStreams(t *testing.T) {
	s := newRegistry(Options{}.withDefaults())
	for i := 0; ; i++ {
		so := met(s, fmt.Sprint(i), at(0), "activationThreshold=1", "labels="+strings.Repeat("x,", maxMetadata/4))
		if !s.open(so) {
			if so.kept.Load() || so.latch != nil || s.bytes > maxRemembered {
				t.Errorf("number %d: kept %v, latch %v, %d bytes", i, so.kept.Load(), so.latch, s.bytes)
			}
			break
		}
	}
}

func TestStreamsAreCounted(t *testing.T) {
	s := newRegistry(Options{}.withDefaults())
	so := met(s, "etl", at(0))
	for i := range maxStreams {
		if !s.open(so) {
			t.Fatalf("stream %d is refused", i)
		}
	}
	if s.open(so) {
		t.Error("one stream too many")
	}
	s.closed(so)
	if !s.open(so) {
		t.Error("no stream in the place of one that ended")
	}
}

// Triggers alike share a latch; it goes with the last of them.
func TestLatchesGoWithTheirObjects(t *testing.T) {
	s := newRegistry(Options{}.withDefaults())
	one, other := met(s, "one", at(0), "activationThreshold=1"), met(s, "other", at(time.Hour), "activationThreshold=1")
	if one.latch == nil || one.latch != other.latch {
		t.Error("equal triggers have two latches")
	}
	if met(s, "two", at(0), "activationThreshold=2").latch == one.latch || met(s, "none", at(0)).latch != nil {
		t.Error("another trigger has the same latch")
	}
	var left []int
	for range 3 {
		left = append(left, len(s.latches))
		s.sweep(at(time.Duration(len(left)) * time.Hour))
	}
	if diff := cmp.Diff([]int{2, 1, 0}, left); diff != "" {
		t.Errorf("latches that are left as hours pass: %s", diff)
	}
}

// TestEqualHashesAreTwoMetadata: the hash finds an entry, it does not prove it.
func TestEqualHashesAreTwoMetadata(t *testing.T) {
	s := newRegistry(Options{}.withDefaults())
	s.objects[objectKey{"flows", "etl", s.hash(ref("etl", "labels=b").ScalerMetadata)}] = met(s, "etl", noon, "labels=a")
	if diff := cmp.Diff([]string{"b"}, met(s, "etl", noon, "labels=b").trigger.Scope.Labels); diff != "" {
		t.Error(diff)
	}
	if one, other := s.hash(map[string]string{"a": "1", "b": "2"}), s.hash(map[string]string{"b": "2", "a": "1"}); one != other {
		t.Error("the hash depends on the order")
	}
}
