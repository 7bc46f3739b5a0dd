package backendtest

import (
	"fmt"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/prefect-keda/prefect-keda/prefect"
)

func claimed(s *suite) {
	place, scope := s.Elsewhere()
	id := s.World.Schedule(time.Now().Add(-time.Minute), place)
	before := s.read(id)
	began := time.Now()
	note := s.claim("a", before, prefect.Won)
	time.Sleep(time.Second)
	after := s.read(id)
	if diff := cmp.Diff(&note, after.Claim); diff != "" || after.State.Phase != prefect.Claimed || after.Revision == before.Revision || after.StateAt.Sub(began).Abs() > time.Second {
		s.Errorf("read %+v; claim (-want +got):\n%s", after, diff)
	}
	if found := s.due(prefect.DueQuery{Scope: scope, Until: time.Now(), Limit: 10}); len(found.Runs) > 0 {
		s.Errorf("a claimed run is due: %+v", found.Runs)
	}
	rows, err := s.backend.Claimed(s.Context(), scope)
	if err != nil || len(rows) != 1 {
		s.Fatalf("claims of its place: %+v, %v", rows, err)
	}
	if diff := cmp.Diff(&note, rows[0].Claim); diff != "" || rows[0].ID != id || rows[0].State.Phase != prefect.Claimed || !rows[0].StateAt.Equal(after.StateAt) || rows[0].Place.Key() != place.Key() || rows[0].ReadAt.Before(began) {
		s.Errorf("among the claims %+v; claim (-want +got):\n%s", rows[0], diff)
	}
	if rows, err := s.backend.Claimed(s.Context(), s.served); err != nil || len(rows) > 0 {
		s.Errorf("claims of another place: %+v, %v", rows, err)
	}
	if r, err := s.backend.Claim(s.Context(), after, note); err == nil && r.Answer == prefect.Won {
		s.Error("a claimed run was claimed again from its own state")
	}
	s.Set(id, prefect.Running)
	if rows, err := s.backend.Claimed(s.Context(), scope); err != nil || len(rows) > 0 || s.read(id).Claim != nil {
		s.Errorf("once its pod runs it is claimed by %+v, among %+v, %v", s.read(id).Claim, rows, err)
	}
}

func launched(s *suite) {
	waits := s.schedule()
	s.claim("a", s.read(waits), prefect.Won)
	all := []string{waits}
	if w, is := s.World.(Retrier); is {
		retries := s.schedule()
		s.claim("a", s.read(retries), prefect.Won)
		s.Set(retries, prefect.Running)
		w.Retry(retries, time.Now().Add(-time.Minute))
		all = append(all, retries)
	}
	for _, id := range all {
		before := s.read(id)
		for range 2 { // by another launcher that finds the Job
			if err := s.backend.Launched(s.Context(), before, noteOf("a", before)); err != nil {
				s.Error(err)
			}
		}
		after := s.read(id)
		if after.State.Phase != before.State.Phase || after.Attempt != before.Attempt || after.JobFirst != before.JobFirst || !cmp.Equal(before.Claim, after.Claim) {
			s.Errorf("with its Job it is %+v, before %+v", after, before)
		}
	}
}

func pending(s *suite) {
	id := s.schedule()
	note := s.claim("a", s.read(id), prefect.Won)
	for _, why := range []string{"no node has room", "no node has room", "the image cannot be pulled"} {
		before := s.read(id)
		if err := s.backend.Pending(s.Context(), before, why); err != nil {
			s.Errorf("%s: %v", why, err)
		}
		if after := s.read(id); after.State.Phase != prefect.Claimed || after.Claim == nil || *after.Claim != note || after.Attempt != before.Attempt {
			s.Errorf("%s: it is %+v, claimed by %+v", why, after, after.Claim)
		}
	}
	if rows, err := s.backend.Claimed(s.Context(), s.served); err != nil || len(rows) != 1 || rows[0].Claim == nil || *rows[0].Claim != note {
		s.Errorf("claims: %+v, %v", rows, err)
	}
	if h := s.history(id, note.Attempt); h.IsLate() {
		s.Errorf("its claim counts as late: %+v", h)
	}
}

func claimedTwice(s *suite) {
	id := s.schedule()
	run := s.read(id)
	shown := s.claim("a", run, prefect.Won)
	all := []prefect.Claim{shown}
	if second := s.claim("b", run, s.second); s.second == prefect.Won {
		shown, all = second, append(all, second)
	}
	h := s.history(id, run.Attempt)
	if diff := cmp.Diff(&shown, h.Run.Claim); diff != "" {
		s.Errorf("the run shows (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(all, h.Claims); diff != "" || h.IsLate() {
		s.Errorf("late %v; claims (-want +got):\n%s", h.IsLate(), diff)
	}
}

func claimedAtOnce(s *suite) {
	id := s.schedule()
	run := s.read(id)
	var mu sync.Mutex
	answers := map[prefect.Answer]int{}
	won := map[prefect.Claim]bool{}
	var all sync.WaitGroup
	for i := range 8 {
		b, note := s.Backend(), noteOf(fmt.Sprint("launcher-", i), run)
		all.Go(func() {
			r, err := b.Claim(s.Context(), run, note)
			if err != nil {
				s.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			answers[r.Answer]++
			if r.Sole && (r.Answer != prefect.Won || s.second == prefect.Won) {
				s.Errorf("the claim of %s counts as sole, answered %s", note.Launcher, r.Answer)
			}
			if r.Answer == prefect.Won {
				won[note] = true
			}
		})
	}
	all.Wait()
	h := s.history(id, run.Attempt)
	there := map[prefect.Claim]bool{}
	for _, c := range h.Claims {
		there[c] = true
	}
	if diff := cmp.Diff(won, there); diff != "" || len(won) == 0 || h.Run.Claim == nil || *h.Run.Claim != h.Claims[len(h.Claims)-1] {
		s.Errorf("%v; the run shows %+v; claims (-won +written):\n%s", answers, h.Run.Claim, diff)
	}
	if s.second != prefect.Won && (answers[prefect.Won] != 1 || answers[s.second] != 7) {
		s.Errorf("%v, want one won and the others answered %s", answers, s.second)
	}
}

func claimedLate(s *suite) {
	for _, to := range []prefect.Phase{prefect.Cancelled, prefect.Finished, prefect.Held} {
		id := s.schedule()
		run := s.read(id)
		s.Set(id, to)
		before := s.read(id)
		r, err := s.backend.Claim(s.Context(), run, noteOf("a", run))
		switch h := s.history(id, run.Attempt); {
		case err != nil || r.Answer != prefect.Won && r.Answer != prefect.Lost:
			s.Errorf("%s: %s, %v", to, r.Answer, err)
		case r.Answer == prefect.Lost:
			if h.Run.State.Phase != to || h.Run.State.Name != before.State.Name || h.Run.State.Message != before.State.Message {
				s.Errorf("%s: lost, and the run is %+v", to, h.Run.State)
			}
		case !h.IsLate() || h.Reached.Phase != to:
			s.Errorf("%s: the history does not show that the claim came late: %+v", to, h)
		default:
			if err := s.backend.Restore(s.Context(), h.Run, h.Reached); err != nil {
				s.Error(err)
			}
			if now := s.read(id); now.State.Phase != to || now.State.Name != before.State.Name || now.State.Message != before.State.Message || now.Claim != nil {
				s.Errorf("%s: restored it is %+v, claimed by %+v", to, now.State, now.Claim)
			}
		}
	}
}

// A claim that is applied after the run's end shows as late, and the state that it
// overwrote is restored.
func history(s *suite) {
	if s.second == prefect.Lost {
		s.Skip("no claim is applied late")
	}
	id := s.schedule()
	due := s.read(id)
	claim := func(launcher string, run prefect.FlowRun) prefect.Claim {
		s.Helper()
		time.Sleep(locked) // or another replica
		return s.claim(launcher, run, prefect.Won)
	}
	expect := func(when string, attempt prefect.Attempt, late bool, reached prefect.Phase, claims ...prefect.Claim) prefect.History {
		s.Helper()
		h := s.history(id, attempt)
		if diff := cmp.Diff(claims, h.Claims, cmpopts.EquateEmpty()); diff != "" || h.IsLate() != late || h.Reached.Phase != reached {
			s.Errorf("%s: late %v, reached %s, want %v, %s; claims (-want +got):\n%s", when, h.IsLate(), h.Reached.Phase, late, reached, diff)
		}
		return h
	}
	expect("unclaimed", due.Attempt, false, prefect.Other)
	a := claim("a", due)
	expect("claimed", due.Attempt, false, prefect.Other, a)
	b := claim("b", due)
	expect("claimed twice", due.Attempt, false, prefect.Other, a, b)
	s.Set(id, prefect.Running)
	expect("at work", due.Attempt, false, prefect.Running, a, b)
	s.Set(id, prefect.Finished)
	before := s.read(id).State
	claim("a", due)
	h := expect("claimed after its end", due.Attempt, true, prefect.Finished, a, b, a)
	if h.Run.State.Phase != prefect.Claimed || h.Run.Claim == nil || *h.Run.Claim != a {
		s.Errorf("the run: %+v", h.Run)
	}
	if err := s.backend.Restore(s.Context(), h.Run, h.Reached); err != nil {
		s.Fatal(err)
	}
	if diff := cmp.Diff(before, s.read(id).State, sameJSON()); diff != "" {
		s.Errorf("restored (-before +after):\n%s", diff)
	}
	expect("restored", due.Attempt, false, prefect.Finished, a, b, a)

	// After a restart the run is claimed in order.
	s.Set(id, prefect.Waiting)
	again := s.read(id)
	expect("started again", again.Attempt, false, prefect.Other)
	c := claim("c", due) // of the first attempt
	h = expect("claimed late over the restart", due.Attempt, true, prefect.Waiting, a, b, a, c)
	to := h.Reached
	to.StartTime = time.Now().Add(time.Minute).Truncate(time.Microsecond)
	if err := s.backend.Restore(s.Context(), h.Run, to); err != nil {
		s.Fatal(err)
	}
	put := s.read(id)
	if !put.Due.Equal(to.StartTime) || put.State.Phase != prefect.Waiting || put.State.Message != again.State.Message {
		s.Errorf("the restart is put back as %+v, want it due at %s", put.State, to.StartTime)
	}
	d := claim("d", put)
	expect("claimed again", put.Attempt, false, prefect.Other, d)
}
