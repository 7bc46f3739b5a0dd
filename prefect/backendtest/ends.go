package backendtest

import (
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
)

func handedBack(s *suite) {
	id := s.schedule()
	first := s.read(id)
	s.claim("a", first, prefect.Won)
	at := time.Now().Add(time.Minute).Truncate(time.Microsecond)
	if err := s.backend.HandBack(s.Context(), s.read(id), at, "the quota is full"); err != nil {
		s.Fatal(err)
	}
	back := s.read(id)
	if back.State.Phase != prefect.Waiting || !back.Due.Equal(at) || !back.State.StartTime.Equal(at) || back.State.Message != "the quota is full" || back.Claim != nil || back.Fresh {
		s.Errorf("handed back it is %+v", back)
	}
	if back.Attempt == first.Attempt || back.Revision == first.Revision {
		s.Errorf("attempt %s after %s, revision %s after %s", back.Attempt, first.Attempt, back.Revision, first.Revision)
	}
	if due := s.dueNow(); len(due) > 0 {
		s.Errorf("%q are due before the time", due)
	}
	time.Sleep(time.Minute)
	if diff := cmp.Diff([]string{id}, s.dueNow()); diff != "" {
		s.Errorf("due at the time (-want +got):\n%s", diff)
	}
	note := s.claim("b", back, prefect.Won)
	if diff := cmp.Diff([]prefect.Claim{note}, s.history(id, back.Attempt).Claims); diff != "" {
		s.Errorf("claims of the second attempt (-want +got):\n%s", diff)
	}
	for _, end := range []prefect.Phase{prefect.Finished, prefect.Cancelled} {
		s.Set(id, end)
		if err := s.backend.HandBack(s.Context(), s.read(id), time.Now(), "x"); err == nil || s.read(id).State.Phase != end {
			s.Errorf("a run that is %s was handed back: %v, it is %s", end, err, s.read(id).State.Phase)
		}
	}
}

// The count of hand-backs because pods never began survives claims and hand-backs for other
// reasons; it begins again when anybody else schedules the run.
func handBacksCounted(s *suite) {
	id := s.schedule()
	var counts []int
	claim := func() prefect.FlowRun {
		s.Helper()
		time.Sleep(locked)
		s.claim("a", s.read(id), prefect.Won)
		run := s.read(id)
		counts = append(counts, run.HandedBack)
		return run
	}
	handBack := func(run prefect.FlowRun) {
		s.Helper()
		if err := s.backend.HandBack(s.Context(), run, time.Now(), "no pod began"); err != nil {
			s.Fatal(err)
		}
	}
	for range 2 {
		run := claim()
		run.HandedBack++
		handBack(run)
	}
	handBack(claim()) // a quota
	run := s.read(id) // as a launcher has it that has just claimed it
	claim()
	handBack(run)
	claim()
	s.Set(id, prefect.Waiting) // a person, or Prefect itself
	claim()
	if diff := cmp.Diff([]int{0, 1, 2, 2, 2, 0}, counts); diff != "" {
		s.Errorf("-want +got:\n%s", diff)
	}
}

func ended(s *suite) {
	for name, tc := range map[string]struct {
		end  func(run prefect.FlowRun) error
		want prefect.Phase
	}{
		"its author's": {func(run prefect.FlowRun) error {
			return s.backend.Fail(s.Context(), run, prefect.Failure{Kind: prefect.ByAuthor, Message: "it did not work"})
		}, prefect.Finished},
		"the infrastructure's": {func(run prefect.FlowRun) error {
			return s.backend.Fail(s.Context(), run, prefect.Failure{Kind: prefect.ByInfrastructure, Message: "it did not work"})
		}, prefect.Finished},
		"cancelled": {func(run prefect.FlowRun) error { return s.backend.Cancelled(s.Context(), run, "it did not work") }, prefect.Cancelled},
	} {
		id := s.schedule()
		s.claim("a", s.read(id), prefect.Won)
		before := s.read(id)
		if err := tc.end(before); err != nil {
			s.Fatal(err)
		}
		if now := s.read(id); now.State.Phase != tc.want || now.State.Message != "it did not work" || now.Revision == before.Revision || now.Claim != nil {
			s.Errorf("%s: it is %+v", name, now)
		}
	}
	if due := s.dueNow(); len(due) > 0 {
		s.Errorf("%q are due", due)
	}
}
