package scaler

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// What concerns those who run launchers is told on their ScaledObjects, once when it
// begins.
func TestWhatIsToldByEvents(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*fakeSource)
		reason string
		says   string
	}{
		"Prefect is away":             {func(f *fakeSource) { f.err = errors.New("no route") }, eventFrozen, "scales nothing until Prefect answers: connection default: the last answer of Prefect is 2m"},
		"Prefect refuses us":          {func(f *fakeSource) { f.err = fmt.Errorf("query: %w", prefect.ErrAuth) }, eventKey, "the Prefect API refuses the scaler's key or tenant: "},
		"too many runs":               {func(f *fakeSource) { f.trunc = true }, eventTruncated, "more flow runs wait than one poll of Prefect returns"},
		"runs are too large":          {func(f *fakeSource) { f.trunc, f.large = true, true }, eventTruncated, "too large to be read together"},
		"a claim stays without a Job": {func(f *fakeSource) { f.claim = []prefect.ClaimedRun{claimed("r1", "job-1", "v1")} }, eventStuck, "flow run r1 is stuck: its Job is not created"},
	} {
		t.Run(name, func(t *testing.T) {
			f, l := &fakeSource{}, &fakeOperator{}
			o := withJobs(f, fakeKube())
			o.Operator = l
			inBubble(t, o, func(t *testing.T, s *Server) {
				pass(2 * time.Second)
				wantActive(t, s, false, "labels=etl")
				f.change(tc.change)
				for range 30 {
					pass(20 * time.Second)
					_, _ = active(t, s, "labels=etl")
				}
				if got := l.of(tc.reason); len(got) != 1 || len(l.told) != 1 || !strings.HasPrefix(got[0], "flows/etl "+tc.reason) || !strings.Contains(got[0], tc.says) {
					t.Errorf("told %q", l.told)
				}
			})
		})
	}
}

// A refusal is told on the ScaledObject that is refused, and runs that are stuck on
// those whose launchers serve them.
func TestEventsGoWhereTheyConcern(t *testing.T) {
	f, l := &fakeSource{claim: []prefect.ClaimedRun{claimed("r1", "job-1", "v1")}}, &fakeOperator{}
	o := withJobs(f, fakeKube())
	o.Operator = l
	inBubble(t, o, func(t *testing.T, s *Server) {
		for range 8 {
			for name, metadata := range map[string]string{"ours": "labels=etl", "theirs": "labels=gpu", "misspelt": "labl=etl"} {
				_, _ = s.service.IsActive(t.Context(), ref(name, metadata))
			}
			pass(10 * time.Second)
		}
		if got := l.of(eventStuck); len(got) != 1 || !strings.HasPrefix(got[0], "flows/ours ") {
			t.Errorf("stuck runs are told %q", got)
		}
		want := `flows/misspelt PrefectTriggerRefused: trigger metadata: unknown key "labl", did you mean labels?`
		if got := l.of(eventRefused); len(got) != 1 || got[0] != want {
			t.Errorf("the refusal is told %q", got)
		}
	})
}

// What concerns a connection is told on a bounded number of ScaledObjects.
func TestEventsAreBounded(t *testing.T) {
	f, l := &fakeSource{}, &fakeOperator{}
	o := bubbleOptions(f)
	o.Operator = l
	inBubble(t, o, func(t *testing.T, s *Server) {
		for i := range 3 * maxTold {
			if _, err := s.service.IsActive(t.Context(), ref(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		f.change(func(f *fakeSource) { f.trunc = true })
		pass(2 * time.Second)
		if got := l.of(eventTruncated); len(got) != maxTold {
			t.Errorf("%d are told", len(got))
		}
	})
}
