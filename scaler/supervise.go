package scaler

import (
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

const (
	// superviseEvery is how often we ask Prefect about the runs of Jobs. About Jobs newly in
	// trouble we ask at once.
	superviseEvery = 30 * time.Second
	// goneFor bounds how long a run whose Job is gone keeps launchers awake. Without a Job
	// there is nowhere to record that Prefect rejected the state, so the demand expires
	// instead.
	goneFor = 10 * time.Minute
)

// supervision combines what Kubernetes and Prefect say about Jobs. Only the poll loop
// uses it.
type supervision struct {
	watch      *watch
	namespaces []string

	next   time.Time
	asking bool
	asked  map[string]bool           // nil if the last question got no answer
	runs   map[string]prefect.JobRun // the runs of troubled Jobs that exist
	answer prefect.Supervision
	ending []prefect.JobRun     // that the last poll for due runs told of
	gone   map[string]time.Time // since when its Job is gone, by run
}

// question is about the runs of Jobs in trouble and of Jobs that have not ended.
type question struct{ troubled, active []string }

// reply is the answer to a question.
type reply struct {
	question
	answer prefect.Supervision
	err    error
}

// due reports whether to ask Prefect now.
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

// ask returns the question for now.
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

// hear takes in which runs are being cancelled, as the last poll told.
func (s *supervision) hear(ending []prefect.JobRun) {
	if s != nil {
		s.ending = ending
	}
}

// apply takes in what came of it.
func (s *supervision) apply(r reply) {
	s.asking, s.asked = false, nil // without an answer, new trouble waits for its time as well
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

// troubled are the Jobs that need a launcher, now or later.
func (s *supervision) troubled(now time.Time) []troubled {
	if s == nil {
		return nil
	}
	var all []troubled
	for _, f := range s.watch.troubled(s.namespaces) {
		// Prefect does not know the run, or no longer: nobody needs to do anything.
		if r, known := s.runs[f.Run]; known && wantsLauncher(r.Phase, f) {
			all = append(all, troubled{f, r.Place})
		}
	}
	for _, r := range s.runsEnding() {
		for _, f := range s.watch.ending(s.namespaces, r) {
			all = append(all, troubled{f, r.Place})
		}
	}
	return append(all, s.jobsGone(now)...)
}

// runsEnding are those that a poll or an answer told of, each once. Polls are the newer of
// the two.
func (s *supervision) runsEnding() []prefect.JobRun {
	all := slices.Clone(s.ending)
	for _, r := range s.answer.Ending {
		if !slices.ContainsFunc(s.ending, func(is prefect.JobRun) bool { return is.ID == r.ID }) {
			all = append(all, r)
		}
	}
	return all
}

// wantsLauncher reports whether a finding needs a launcher in this phase of the run. A run
// that waits in the queue is launched again anyway. After a run has finished, only two kinds
// of Jobs matter: those that would go on for ever, and those that a launcher has stopped and
// will remove. A sidecar in trouble matters no more then, and a Job cannot outlive its run
// before.
func wantsLauncher(phase prefect.Phase, f found) bool {
	if phase.IsFinished() {
		return f.Kind != trouble.Sidecar && !f.Ended || f.Kind == trouble.Spent
	}
	return !phase.IsWaiting() && f.Kind != trouble.Outlived
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
			}, r.Place})
		}
	}
	s.gone = gone
	return all
}
