package backendtest

import (
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/prefect-keda/prefect-keda/prefect"
)

func kept(s *suite) {
	id := s.schedule()
	if by := s.read(id).KeepBy; !by.IsZero() {
		s.Errorf("nobody has claimed it, and it needs a sign of life by %s", by)
	}
	s.claim("a", s.read(id), prefect.Won)
	if s.read(id).KeepBy.IsZero() {
		s.Skip("claimed runs need no sign of life")
	}
	needed := func(want time.Time) {
		s.Helper()
		if by := s.read(id).KeepBy; by.Sub(want).Abs() > time.Second {
			s.Errorf("read alone it needs a sign of life by %s, want %s", by, want)
		}
		rows, err := s.backend.Claimed(s.Context(), s.served)
		if err != nil || len(rows) != 1 || rows[0].KeepBy.Sub(want).Abs() > time.Second {
			s.Errorf("among the claims %+v, %v; want that a sign of life is needed by %s", rows, err, want)
		}
		o, is := s.backend.(Observer)
		if !is {
			return
		}
		if seen, err := o.Observe(s.Context(), time.Now()); err != nil || len(seen.Claimed) != 1 || seen.Claimed[0].KeepBy.Sub(want).Abs() > time.Second {
			s.Errorf("the scaler sees %+v, %v; want that a sign of life is needed by %s", seen.Claimed, err, want)
		}
	}
	by := s.read(id).KeepBy
	for range 3 {
		if !by.After(time.Now()) {
			s.Errorf("right after a sign of life the next is needed by %s, and it is %s", by, time.Now())
		}
		needed(by)
		time.Sleep(time.Until(by))
		before := s.read(id)
		next, err := s.backend.Keep(s.Context(), before)
		if err != nil {
			s.Fatal(err)
		}
		if after := s.read(id); after.State.Phase != prefect.Claimed || after.Revision != before.Revision {
			s.Errorf("a sign of life made it %+v", after)
		} else if after.KeepBy.IsZero() {
			break // one was enough: Prefect knows of the Job
		}
		by = next
	}
	s.Set(id, prefect.Running)
	if by := s.read(id).KeepBy; !by.IsZero() {
		s.Errorf("its pod runs, and it needs a sign of life of ours by %s", by)
	}
}

func supervision(s *suite) {
	place, _ := s.Elsewhere()
	names := map[string]string{}
	// in is a run that a launcher claimed, if any did, and that then came into the phases.
	in := func(name, launcher string, phases ...prefect.Phase) string {
		s.Helper()
		id := s.World.Schedule(time.Now().Add(-time.Minute), place)
		names[id] = name
		if launcher != "" {
			s.claim(launcher, s.read(id), prefect.Won)
		}
		for _, to := range phases {
			s.Set(id, to)
		}
		return id
	}
	silent := in("silent", "a", prefect.Running)
	cancelling := in("cancelling", "b", prefect.Running, prefect.Cancelling)
	lively := in("lively", "c", prefect.Running)
	in("submitted by another", "", prefect.Running)
	if w, is := s.World.(Retrier); is {
		w.Retry(in("waits to go on", "d", prefect.Running), time.Now().Add(time.Hour)) // without a pod, as it should be
	}
	ended := in("ended", "e", prefect.Running, prefect.Finished)
	cancelled := in("cancelled", "f", prefect.Running, prefect.Cancelled)
	waits := in("waits", "g")
	time.Sleep(3 * time.Minute)
	s.Beat(lively)
	stopping := in("told to stop", "h", prefect.Running, prefect.Cancelling)
	time.Sleep(time.Minute)

	// Only some Prefects get signs of life of runs. To the others a run is silent that has
	// no active Job.
	got, err := s.backend.Supervise(s.Context(), []string{"no run's", lively, ended}, []string{cancelled, lively, ended, stopping, waits, "no run's"})
	if err != nil {
		s.Fatal(err)
	}
	row := func(name string, phase prefect.Phase) prefect.JobRun {
		return prefect.JobRun{ID: name, Place: place, Phase: phase}
	}
	claimed := func(id string, launcher string) prefect.JobRun {
		run := s.read(id)
		r := row(names[id], run.State.Phase)
		r.Claim = noteOf(launcher, prefect.FlowRun{Attempt: s.attempts[id]})
		return r
	}
	want := prefect.Supervision{
		Troubled: []prefect.JobRun{row("ended", prefect.Finished), row("lively", prefect.Running)},
		Ending:   []prefect.JobRun{row("cancelled", prefect.Cancelled), row("ended", prefect.Finished), row("told to stop", prefect.Cancelling)},
		Silent:   []prefect.JobRun{claimed(cancelling, "b"), claimed(silent, "a")},
	}
	for _, rows := range [][]prefect.JobRun{got.Troubled, got.Ending, got.Silent} {
		for i := range rows {
			rows[i].ID = names[rows[i].ID]
			if since := time.Since(rows[i].StateAt); since < time.Minute || since > 5*time.Minute {
				s.Errorf("%s: the state is from %s", rows[i].ID, rows[i].StateAt)
			}
		}
	}
	byName := cmpopts.SortSlices(func(a, b prefect.JobRun) bool { return a.ID < b.ID })
	if diff := cmp.Diff(want, got, byName, cmpopts.IgnoreFields(prefect.JobRun{}, "StateAt")); diff != "" {
		s.Errorf("-want +got:\n%s", diff)
	}
	s.Beat(silent)
	s.Beat(cancelling)
	got, err = s.backend.Supervise(s.Context(), nil, []string{silent, lively})
	if err != nil || len(got.Troubled)+len(got.Ending) > 0 {
		s.Errorf("after a sign of life %+v, %v", got, err)
	}
	got, err = s.backend.Supervise(s.Context(), nil, []string{silent, cancelling, lively, stopping, waits})
	if err != nil || len(got.Silent) > 0 {
		s.Errorf("after a sign of life %+v, %v", got, err)
	}
}

func logged(s *suite) {
	a, b := s.schedule(), s.schedule()
	line := func(id string, level prefect.LogLevel, message string) prefect.LogEntry {
		return prefect.LogEntry{FlowRunID: id, Name: "agent", Level: level, Message: message}
	}
	err := s.backend.Log(s.Context(), []prefect.LogEntry{
		line(a, prefect.Info, "one"), line(b, prefect.Error, "two"), line(a, prefect.Warning, strings.Repeat("three ", 100)), line("00000000-0000-4000-8000-000000000001", prefect.Info, "lost"),
	})
	if err != nil {
		s.Error(err)
	}
	if diff := cmp.Diff([]string{"INFO agent: one", "WARNING agent: " + strings.Repeat("three ", 100)}, s.Logged(a)); diff != "" {
		s.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"ERROR agent: two"}, s.Logged(b)); diff != "" {
		s.Errorf("-want +got:\n%s", diff)
	}
}

func announced(s *suite) {
	_, scope := s.Elsewhere()
	for range 3 {
		if err := s.backend.Announce(s.Context(), scope); err != nil {
			s.Error(err)
		}
		time.Sleep(time.Minute)
	}
}
