package scaler

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// Asking about the runs that changed gives what asking about all would, and the same list if
// that is what there was.
func TestSelectionFollowsChanges(t *testing.T) {
	p := &poller{claimed: []prefect.ClaimedRun{claimed("a", "job-a", "v1"), claimed("b", "job-b", "v1"), claimed("c", "job-c", "v1"), claimed("a", "job-a", "v2")}}
	p.claimsOf = map[string][]int{"a": {0, 3}, "b": {1}, "c": {2}}
	is := map[string]bool{"a": true, "c": true}
	var asked []string
	do := func(c prefect.ClaimedRun, before time.Time) (time.Time, bool) {
		asked = append(asked, c.ID)
		if before.IsZero() {
			before = at(time.Duration(len(asked)) * time.Second)
		}
		return before, is[c.ID]
	}
	ids := func(all []claim) (ids []string) {
		for _, c := range all {
			ids = append(ids, c.ID+" "+string(c.Claim.Attempt))
		}
		return ids
	}
	var s selection
	first := s.renew(p, do)
	if d := cmp.Diff([]string{"a v1", "c v1", "a v2"}, ids(first)); d != "" {
		t.Errorf("at first (-want +got):\n%s", d)
	}
	if again := s.update(p, []string{"a", "b", "unknown"}, do); !isSame(first, again) {
		t.Errorf("nothing changed, and the list is another one: %v", ids(again))
	}
	is["b"], is["a"], asked = true, false, nil
	second := s.update(p, []string{"a", "b"}, do)
	if d := cmp.Diff([]string{"b v1", "c v1"}, ids(second)); d != "" {
		t.Errorf("after changes (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"a", "a", "b"}, asked); d != "" {
		t.Errorf("asked about (-want +got):\n%s", d)
	}
	if d := cmp.Diff(first[1].CountsFrom, second[1].CountsFrom); d != "" {
		t.Errorf("what was not asked about counts from another time (-before +after):\n%s", d)
	}
	if d := cmp.Diff(ids(second), ids(s.renew(p, do))); d != "" {
		t.Errorf("all anew (-update +renew):\n%s", d)
	}
}

// A Job that changes no answer wakes no stream.
func TestSnapshotThatSaysTheSameIsNotPublished(t *testing.T) {
	claims := []claim{{claimed("a", "job-a", "v1"), noon}}
	before := newSnapshot(prefect.Observation{}, noon).with(claims, nil, nil, nil)
	if !before.with(claims, nil, nil, nil).isLike(before) {
		t.Error("the same lists are not alike")
	}
	for name, next := range map[string]*snapshot{
		"no claim":   before.with(nil, nil, nil, nil),
		"other ones": before.with([]claim{{claimed("b", "job-b", "v1"), noon}}, nil, nil, nil),
		"waiting":    before.with(claims, claims, nil, nil),
		"troubled":   before.with(claims, nil, []troubled{{}}, nil),
		"stuck":      before.with(claims, nil, nil, []stuckRun{{}}),
	} {
		if next.isLike(before) {
			t.Errorf("%s: it is taken for the same", name)
		}
	}
}
