package backendtest

import (
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
)

func dueRuns(s *suite) {
	place, scope := s.Elsewhere()
	now := time.Now()
	in := func(d time.Duration) time.Time { return now.Add(d) }
	b := s.World.Schedule(in(-time.Minute), s.here)
	soon := s.World.Schedule(in(5*time.Second), s.here)
	a := s.World.Schedule(in(-2*time.Minute), s.here)
	s.World.Schedule(in(time.Hour), s.here)
	other := s.World.Schedule(in(-time.Minute), place)
	held := s.World.Schedule(in(-time.Hour), s.here)
	s.Set(held, prefect.Held)
	for name, tc := range map[string]struct {
		query prefect.DueQuery
		want  []string
		more  bool
	}{
		"now":        {prefect.DueQuery{Scope: s.served, Until: now, Limit: 10}, []string{a, b}, false},
		"soon":       {prefect.DueQuery{Scope: s.served, Until: in(10 * time.Second), Limit: 10}, []string{a, b, soon}, false},
		"the first":  {prefect.DueQuery{Scope: s.served, Until: now, Limit: 1}, []string{a}, true},
		"except one": {prefect.DueQuery{Scope: s.served, Until: now, Limit: 1, Except: []string{a, "none"}}, []string{b}, true},
		"except all": {prefect.DueQuery{Scope: s.served, Until: now, Limit: 2, Except: []string{a, b}}, []string{}, false},
		"elsewhere":  {prefect.DueQuery{Scope: scope, Until: now, Limit: 10}, []string{other}, false},
	} {
		began := time.Now()
		found := s.due(tc.query)
		if diff := cmp.Diff(tc.want, ids(found.Runs)); diff != "" || found.More != tc.more {
			s.Errorf("%s: more %v, want %v; runs (-want +got):\n%s", name, found.More, tc.more, diff)
		}
		for _, r := range found.Runs {
			if r.Attempt == "" || r.Revision == "" || !r.Fresh || r.JobFirst || r.Claim != nil || r.State.Phase != prefect.Waiting || r.ReadAt.Before(began) {
				s.Errorf("%s: %+v", name, r)
			}
			if r.Place.Key() != map[bool]prefect.Place{true: place, false: s.here}[r.ID == other].Key() {
				s.Errorf("%s: it waits at %s", name, r.Place)
			}
		}
	}
}

func readersAgree(s *suite) {
	same := func(when, id string) prefect.FlowRun {
		s.Helper()
		run := s.read(id)
		time.Sleep(time.Second)
		if diff := cmp.Diff(run, s.read(id), known()); diff != "" {
			s.Errorf("%s, read twice:\n%s", when, diff)
		}
		if found := s.due(prefect.DueQuery{Scope: s.served, Until: time.Now(), Limit: 10, Namespace: "flows", NamespaceUID: "here"}); len(found.Runs) != 1 {
			s.Errorf("%s: %d runs are due", when, len(found.Runs))
		} else if diff := cmp.Diff(run, found.Runs[0], known()); diff != "" {
			s.Errorf("%s, read alone and among those that are due:\n%s", when, diff)
		}
		return run
	}
	id := s.schedule()
	first := same("scheduled", id)
	s.claim("a", first, prefect.Won)
	revisions := []string{first.Revision, s.read(id).Revision}
	for _, to := range []prefect.Phase{prefect.Running, prefect.Finished, prefect.Waiting} {
		s.Set(id, to)
		run := s.read(id)
		if run.State.Phase != to || slices.Contains(revisions, run.Revision) || run.Fresh {
			s.Errorf("%s: %+v after revisions %q", to, run, revisions)
		}
		revisions = append(revisions, run.Revision)
	}
	if again := same("scheduled again", id); again.Attempt == first.Attempt {
		s.Errorf("scheduled again it is the same attempt %s", again.Attempt)
	}
	s.Set(id, prefect.Running)
	if w, is := s.World.(Retrier); is {
		w.Retry(id, time.Now().Add(-time.Minute))
		same("a retry is due", id)
	}
}

func observerAgrees(s *suite) {
	o, is := s.backend.(Observer)
	if !is {
		s.Skip("scalers do not ask this backend")
	}
	place, _ := s.Elsewhere()
	until := time.Now().Add(time.Minute)
	waits, ahead, other, claimed := s.schedule(), s.World.Schedule(until.Add(-time.Second), s.here), s.World.Schedule(time.Now(), place), s.schedule()
	s.World.Schedule(until.Add(time.Minute), s.here)
	all := []string{waits, ahead, other}
	if w, is := s.World.(Retrier); is {
		again := s.schedule()
		s.Set(again, prefect.Running)
		w.Retry(again, time.Now().Add(-2*time.Minute))
		all = append(all, again)
	}
	run := s.read(claimed)
	note := s.claim("a", run, prefect.Won)
	seen, err := o.Observe(s.Context(), until)
	if err != nil {
		s.Fatal(err)
	}
	due := map[string]time.Time{}
	for _, r := range seen.Due {
		due[r.ID] = r.Due
	}
	want := map[string]time.Time{}
	for _, id := range all {
		want[id] = s.read(id).Due
	}
	if diff := cmp.Diff(want, due); diff != "" || len(seen.Due) != len(want) || seen.Truncated || seen.TooLarge {
		s.Errorf("%d are due, truncated %v; due times (-launchers +scaler):\n%s", len(seen.Due), seen.Truncated, diff)
	}
	if len(seen.Claimed) != 1 || seen.Claimed[0].ID != claimed || seen.Claimed[0].Claim != note {
		s.Errorf("claimed: %+v, want %s by %+v", seen.Claimed, claimed, note)
	}
}

func held(s *suite) {
	w, is := s.World.(Pauser)
	o, observes := s.backend.(Observer)
	if !is || !observes {
		s.Skip("nothing keeps runs back, or nobody looks")
	}
	place, _ := s.Elsewhere()
	id, other := s.schedule(), s.World.Schedule(time.Now(), place)
	for _, paused := range []bool{true, false} {
		w.Pause(s.here, paused)
		seen, err := o.Observe(s.Context(), time.Now())
		if err != nil {
			s.Fatal(err)
		}
		due, kept := map[string]bool{}, map[string]string{}
		for _, r := range seen.Due {
			due[r.ID] = true
		}
		for _, r := range seen.Held {
			kept[r.ID] = r.Why
			if r.Place.Key() != s.here.Key() {
				s.Errorf("paused %v: it is kept back at %s", paused, r.Place)
			}
		}
		if due[id] == paused || !due[other] || (kept[id] != "") != paused || seen.Truncated {
			s.Errorf("paused %v: due %v, kept back %v, truncated %v", paused, due, kept, seen.Truncated)
		}
		if launchers := slices.Contains(s.dueNow(), id); launchers == paused {
			s.Errorf("paused %v: due for launchers: %v", paused, launchers)
		}
	}
}

func jobFirst(s *suite) {
	w := s.retrier()
	id := s.schedule()
	first := s.read(id)
	note := s.claim("a", first, prefect.Won)
	s.Set(id, prefect.Running)
	if run := s.read(id); run.JobFirst || run.Claimable(time.Now()) {
		s.Errorf("a run at work needs a Job: %+v", run)
	}
	w.Retry(id, time.Now().Add(time.Hour))
	if run := s.read(id); run.Claimable(time.Now()) || len(s.dueNow()) > 0 {
		s.Errorf("an hour before its retry it is due: %+v", run)
	}
	at := time.Now().Add(-time.Minute).Truncate(time.Microsecond)
	w.Retry(id, at, at.Add(10*time.Second), at.Add(20*time.Second))
	found := s.due(prefect.DueQuery{Scope: s.served, Until: time.Now(), Limit: 10, Namespace: "flows", NamespaceUID: "here"})
	if len(found.Runs) != 1 {
		s.Fatalf("%d runs are due, want the one that retries", len(found.Runs))
	}
	row, run := found.Runs[0], s.read(id)
	if row.ID != id || !row.JobFirst || !row.Due.Equal(at) || row.State.Phase != prefect.Running || row.Attempt != run.Attempt || row.Attempt == first.Attempt || row.Attempt == "" {
		s.Errorf("it is due as %+v, and read as %+v", row, run)
	}
	if diff := cmp.Diff(&note, run.LastClaim); diff != "" {
		s.Errorf("last claimed (-want +got):\n%s", diff)
	}
	if h := s.history(id, run.Attempt); len(h.Claims) > 0 || h.Run.Attempt != run.Attempt {
		s.Errorf("a retry's history is that of the run alone: %+v", h)
	}
	for n := 0; run.JobFirst; n++ {
		if n > 3 {
			s.Fatal("claimed again and again, it is still due")
		}
		s.claim("a", run, prefect.Won)
		run = s.read(id)
	}
	if due := s.dueNow(); len(due) > 0 || run.State.Phase != prefect.Running || run.Claim != nil {
		s.Errorf("claimed it is %+v, and %q are due", run, due)
	}
	w.Retry(id, time.Now().Add(-5*time.Second))
	if again := s.read(id); !again.JobFirst || again.Attempt == row.Attempt {
		s.Errorf("the next retry is attempt %s again, Job first %v", again.Attempt, again.JobFirst)
	}
}

func jobFirstElsewhere(s *suite) {
	w := s.retrier()
	id := s.schedule()
	s.claim("a", s.read(id), prefect.Won)
	s.Set(id, prefect.Running)
	w.Retry(id, time.Now().Add(-time.Minute))
	for uid, want := range map[string][]string{"here": {id}, "there": {}} {
		found := s.due(prefect.DueQuery{Scope: s.served, Until: time.Now(), Limit: 10, Namespace: "flows", NamespaceUID: uid})
		if diff := cmp.Diff(want, ids(found.Runs)); diff != "" {
			s.Errorf("%s (-want +got):\n%s", uid, diff)
		}
	}
}
