package scaler

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/lasting"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/scaler/page"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// noJob is the kind of a claim whose Job is not created.
const noJob = page.NoJob

// stuckKinds are the reasons why runs are stuck, in order.
func stuckKinds() []trouble.Kind { return append(trouble.WaitKinds(), noJob) }

// stuckRun is a run whose Job has been waiting, or missing, for longer than the grace. It
// does not count as demand: launchers write it into the run's log once and can do no more.
type stuckRun struct {
	stuck
	// Place is nil when it is not known.
	Place *prefect.Place
}

// stuckRuns are those of a snapshot at a moment. The ones that have waited longest come
// first.
func (s *snapshot) stuckRuns(grace time.Duration, now time.Time) []stuckRun {
	var all []stuckRun
	for _, r := range s.Stuck {
		if now.Sub(r.Since) >= grace {
			all = append(all, r)
		}
	}
	for _, m := range s.WithoutJob {
		if since := m.CountsFrom.Add(-claimGrace); now.Sub(since) >= grace {
			all = append(all, stuckRun{stuck{
				Wait: trouble.Wait{
					Kind: noJob, Since: since,
					Message: "its Job is not created: no launcher is up, a quota of Jobs is used up or a permission is missing; the launcher's log says which",
				},
				Namespace: m.Claim.Namespace, Job: m.Claim.Job, Run: m.ID,
			}, &m.Place})
		}
	}
	slices.SortStableFunc(all, func(a, b stuckRun) int { return a.Since.Compare(b.Since) })
	return all
}

// stuckRuns are the runs of Jobs that wait; of claimed runs it also has the place.
func (p *poller) stuckRuns() []stuckRun {
	jobs := p.watch.stuck(p.connection.JobNamespaces)
	if len(jobs) == 0 {
		return nil
	}
	places := map[string]*prefect.Place{}
	for _, c := range p.claimed {
		places[c.ID] = &c.Place
	}
	all := make([]stuckRun, 0, len(jobs))
	for _, j := range jobs {
		all = append(all, stuckRun{j, places[j.Run]})
	}
	return all
}

// stuckMessage describes runs that are stuck for the same reason.
func stuckMessage(runs []stuckRun, rules trouble.Rules) string {
	limit := ", for ever: PREFECT_KEDA_PENDING_TIMEOUT is not set"
	if rules.PendingFor > 0 || runs[0].Kind == noJob {
		limit = ""
	}
	if len(runs) == 1 {
		return fmt.Sprintf("flow run %s is stuck%s: %s", runs[0].Run, limit, runs[0].Message)
	}
	return fmt.Sprintf("%d flow runs are stuck%s. The first, %s: %s", len(runs), limit, runs[0].Run, runs[0].Message)
}

// sayStuck says when runs begin to be stuck for a reason, now and then while some are, and
// when it is over.
func (p *poller) sayStuck(ctx context.Context, now time.Time) {
	by := map[trouble.Kind][]stuckRun{}
	for _, r := range p.current.Load().stuckRuns(p.watch.rules.Grace, now) {
		by[r.Kind] = append(by[r.Kind], r)
	}
	for _, k := range stuckKinds() {
		runs := by[k]
		log := p.log.With("trouble", string(k))
		if p.stuck[k] == nil {
			p.stuck[k] = &lasting.State{}
		}
		switch {
		case len(runs) == 0:
			if p.stuck[k].Over() {
				log.InfoContext(ctx, "runs are no longer stuck for this reason")
			}
			continue
		case !p.stuck[k].Holds(now):
			continue
		case k != noJob && p.watch.rules.PendingFor <= 0:
			log.WarnContext(ctx, "runs are stuck, and wait for ever: PREFECT_KEDA_PENDING_TIMEOUT is not set; /debug/demand lists them", "count", len(runs), "flow_run", runs[0].Run, "reason", runs[0].Message)
		default:
			log.WarnContext(ctx, "runs are stuck; /debug/demand lists them", "count", len(runs), "flow_run", runs[0].Run, "reason", runs[0].Message)
		}
		p.service.warn(p, eventStuck, stuckMessage(runs, p.watch.rules), func(s prefect.Scope) bool {
			return slices.ContainsFunc(runs, func(r stuckRun) bool { return r.Place == nil || s.Takes(*r.Place) })
		})
	}
}
