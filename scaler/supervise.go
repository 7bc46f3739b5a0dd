package scaler

import (
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

const (
	// superviseEvery is how often Prefect is asked what the runs of Jobs are at.
	// Jobs that newly get into trouble are asked about at once.
	superviseEvery = 30 * time.Second
	// goneFor bounds how long a run whose Job is gone keeps launchers awake. There
	// is no Job to note on that Prefect will not have it failed.
	goneFor = 10 * time.Minute
)

// supervision puts together what Kubernetes and Prefect say of Jobs. Only the
// poll loop uses it.
type supervision struct {
	watch      *watch
	namespaces []string

	next   time.Time
	asking bool
	asked  map[string]bool           // nil when the last question was not answered
	runs   map[string]prefect.JobRun // of the troubled, those there are
	answer prefect.Supervision
	gone   map[string]time.Time // since when, by run
}

// question is about the runs of Jobs in trouble and of Jobs that have not ended.
type question struct{ troubled, active []string }

// reply is what came of a question.
type reply struct {
	question
	answer prefect.Supervision
	err    error
}

// due reports whether it is time to ask Prefect.
func (s *supervision) due(now time.Time) bool {
	if s.asking {
		return false
	}
	if !now.Before(s.next) {
		return true
	}
	for _, f := range s.watch.troubled(s.namespaces) {
		if s.asked != nil && !s.asked[f.Run] && !f.From.After(now) {
			return true
		}
	}
	return false
}

// ask is the question to ask now.
func (s *supervision) ask(now time.Time) question {
	s.asking, s.next = true, now.Add(superviseEvery)
	q := question{active: s.watch.active(s.namespaces)}
	for _, f := range s.watch.troubled(s.namespaces) {
		q.troubled = append(q.troubled, f.Run)
	}
	slices.Sort(q.troubled)
	q.troubled = slices.Compact(q.troubled)
	return q
}

// learn takes in what came of it.
func (s *supervision) learn(r reply) {
	s.asking, s.asked = false, nil // without an answer, new trouble waits for the next turn as well
	if r.err != nil {
		return
	}
	s.asked, s.answer, s.runs = map[string]bool{}, r.answer, map[string]prefect.JobRun{}
	for _, id := range r.troubled {
		s.asked[id] = true
	}
	for _, run := range r.answer.Troubled {
		s.runs[run.ID] = run
	}
}

// troubled are the Jobs whose runs want a launcher, now or later.
func (s *supervision) troubled(now time.Time) []troubled {
	if s == nil {
		return nil
	}
	var all []troubled
	for _, f := range s.watch.troubled(s.namespaces) {
		// A run that Prefect does not know (any more) is nobody's.
		if r, known := s.runs[f.Run]; known && wantsLauncher(r.State, f) {
			all = append(all, troubled{f, r.Labels})
		}
	}
	for _, r := range s.answer.Ending {
		for _, f := range s.watch.ending(s.namespaces, r) {
			all = append(all, troubled{f, r.Labels})
		}
	}
	return append(all, s.jobsGone(now)...)
}

// wantsLauncher: a run that waits in the queue is launched again anyway, and of
// a finished one only a Job is left to see to that would go on for ever, or that
// a launcher has stopped to remove it once it is old enough. Nobody need be told of
// a sidecar then, and before nothing outlives a run.
func wantsLauncher(state prefect.StateType, f found) bool {
	if state.IsFinished() {
		return f.Kind != trouble.Sidecar && !f.Ended || f.Kind == trouble.Spent
	}
	return !state.IsScheduled() && f.Kind != trouble.Outlived
}

func (s *supervision) jobsGone(now time.Time) []troubled {
	var all []troubled
	gone := map[string]time.Time{}
	for _, r := range s.answer.Silent {
		if !s.watch.jobGone(r.ID, r.Claim) {
			continue
		}
		since, known := s.gone[r.ID]
		if !known {
			since = now
		}
		gone[r.ID] = since
		if now.Sub(since) < goneFor {
			all = append(all, troubled{found{
				Finding: trouble.Finding{Kind: trouble.JobGone, Final: true, From: since}, Namespace: r.Claim.Namespace, Job: r.Claim.Job, Run: r.ID,
			}, r.Labels})
		}
	}
	s.gone = gone
	return all
}
