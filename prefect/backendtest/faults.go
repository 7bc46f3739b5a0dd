package backendtest

import (
	"errors"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
)

func answerLost(s *suite) {
	id := s.schedule()
	run := s.read(id)
	s.Break(LoseAnswer)
	note := s.claim("a", run, prefect.Unknown)
	s.Break(NoFault)
	if now := s.read(id); now.State.Phase != prefect.Claimed || now.Claim == nil || *now.Claim != note {
		s.Errorf("read back it is %s, claimed by %+v", now.State.Phase, now.Claim)
	}
}

func requestLost(s *suite) {
	id := s.schedule()
	run := s.read(id)
	s.Break(LoseRequest)
	s.claim("a", run, prefect.Unknown)
	if _, err := s.backend.FlowRun(s.Context(), id); err == nil {
		s.Error("it was read all the same")
	}
	s.Break(NoFault)
	if diff := cmp.Diff(run, s.read(id), known()); diff != "" {
		s.Errorf("-before +after:\n%s", diff)
	}
	s.claim("a", run, prefect.Won)
}

func tooLate(s *suite) {
	id := s.schedule()
	run := s.read(id)
	late := prefect.WithSendBy(s.Context(), time.Now().Add(-time.Second))
	if r, err := s.backend.Claim(late, run, noteOf("a", run)); err != nil || r.Answer != prefect.NotNow {
		s.Errorf("the claim is answered %s (%s), %v", r.Answer, r.Reason, err)
	}
	if err := s.backend.Fail(late, run, prefect.Failure{Kind: prefect.ByAuthor, Message: "no"}); err == nil {
		s.Error("the run was failed")
	}
	if diff := cmp.Diff(run, s.read(id), known()); diff != "" {
		s.Errorf("-before +after:\n%s", diff)
	}
	s.claim("a", run, prefect.Won)
	run = s.read(id)
	if err := s.backend.HandBack(prefect.WithSendBy(s.Context(), time.Now().Add(-time.Second)), run, time.Now(), "no"); err == nil {
		s.Error("the run was handed back")
	}
	if diff := cmp.Diff(run, s.read(id), known()); diff != "" {
		s.Errorf("-before +after:\n%s", diff)
	}
}

func leftAlone(s *suite) {
	id := s.schedule()
	run := s.read(id)
	s.Break(LeaveAlone)
	if r, err := s.backend.Claim(s.Context(), run, noteOf("a", run)); err != nil || r.Answer != prefect.NotNow || r.RetryAfter != time.Minute {
		s.Errorf("the claim is answered %+v, %v", r, err)
	}
	if _, err := s.backend.Due(s.Context(), prefect.DueQuery{Scope: s.served, Until: time.Now(), Limit: 1}); prefect.RetryAfter(err) != time.Minute {
		s.Errorf("the question for due runs is answered %v, after %s", err, prefect.RetryAfter(err))
	}
	if _, err := s.backend.Claimed(s.Context(), s.served); prefect.RetryAfter(err) != time.Minute {
		s.Errorf("the question for claims is answered %v, after %s", err, prefect.RetryAfter(err))
	}
	s.Break(NoFault)
	if diff := cmp.Diff(run, s.read(id), known()); diff != "" {
		s.Errorf("-before +after:\n%s", diff)
	}
}

func keyRefused(s *suite) {
	id := s.schedule()
	run := s.read(id)
	s.Break(RefuseKey)
	_, due := s.backend.Due(s.Context(), prefect.DueQuery{Scope: s.served, Until: time.Now(), Limit: 1})
	_, read := s.backend.FlowRun(s.Context(), id)
	_, claim := s.backend.Claim(s.Context(), run, noteOf("a", run))
	_, supervise := s.backend.Supervise(s.Context(), nil, nil)
	for name, err := range map[string]error{
		"due": due, "read": read, "claim": claim, "supervise": supervise, "fail": s.backend.Fail(s.Context(), run, prefect.Failure{Kind: prefect.ByAuthor, Message: "no"}), "announce": s.backend.Announce(s.Context(), s.served),
	} {
		if !errors.Is(err, prefect.ErrAuth) {
			s.Errorf("%s: %v", name, err)
		}
	}
	s.Break(NoFault)
	if diff := cmp.Diff(run, s.read(id), known()); diff != "" {
		s.Errorf("-before +after:\n%s", diff)
	}
}

func runGone(s *suite) {
	id := s.schedule()
	run := s.read(id)
	s.Delete(id)
	_, read := s.backend.FlowRun(s.Context(), id)
	_, past := s.backend.History(s.Context(), id, run.Attempt)
	_, stranger := s.backend.FlowRun(s.Context(), "no id of any run")
	for name, err := range map[string]error{"read": read, "history": past, "of nobody's id": stranger, "fail": s.backend.Fail(s.Context(), run, prefect.Failure{Kind: prefect.ByAuthor, Message: "no"})} {
		if !errors.Is(err, prefect.ErrNotFound) {
			s.Errorf("%s: %v", name, err)
		}
	}
	s.claim("a", run, prefect.Lost)
}
