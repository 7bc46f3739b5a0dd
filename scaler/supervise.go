package scaler

import (
	"context"
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
	asked  map[string]bool
	runs   map[string]prefect.JobRun // of the troubled, those there are
	answer prefect.Supervision
	gone   map[string]time.Time // since when, by run
}

// due reports whether it is time to ask Prefect.
func (s *supervision) due(now time.Time) bool {
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

func (s *supervision) ask(ctx context.Context, source Source, now time.Time) error {
	s.next = now.Add(superviseEvery)
	var troubled []string
	asked := map[string]bool{}
	for _, f := range s.watch.troubled(s.namespaces) {
		if !asked[f.Run] {
			asked[f.Run] = true
			troubled = append(troubled, f.Run)
		}
	}
	answer, err := source.Supervise(ctx, troubled, s.watch.active(s.namespaces))
	if err != nil {
		s.asked = nil // new trouble waits for the next turn as well
		return err
	}
	s.asked, s.answer, s.runs = asked, answer, map[string]prefect.JobRun{}
	for _, r := range answer.Troubled {
		s.runs[r.ID] = r
	}
	return nil
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
	for _, r := range s.answer.Cancelled {
		for _, f := range s.watch.cancelled(s.namespaces, r.ID, r.StateAt) {
			all = append(all, troubled{f, r.Labels})
		}
	}
	return append(all, s.jobsGone(now)...)
}

// wantsLauncher: a run that waits in the queue is launched again anyway, and of
// a finished one only a Job that would go on for ever is left to see to.
func wantsLauncher(state prefect.StateType, f found) bool {
	if state.IsFinished() {
		return !f.Ended
	}
	return !state.IsScheduled()
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
