package prefect3

import (
	"context"
	"slices"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

// maxAsked histories are read in one question about Jobs; the others wait for the next.
const maxAsked = 50

// Supervise asks how the runs of Jobs are: the states of those in trouble, those with an
// active Job that should end, and those of ours that have fallen silent. Runs of Prefect 3
// need not give signs of life, so a run is silent that has begun, or has got its Job as far
// as Prefect knows, and has no active Job. Malformed ids are left out: anybody may have
// labelled a Job.
func (c *Client) Supervise(ctx context.Context, troubled, active []string) (s prefect.Supervision, err error) {
	defer exchange.Explain(&err, "read the flow runs of Jobs")
	q := supervising{Client: c, ended: map[string]bool{}}
	troubled, active = wellFormed(troubled), wellFormed(active)
	if s.Troubled, err = q.named(ctx, troubled, nil); err != nil {
		return s, err
	}
	if s.Ending, err = q.named(ctx, active, []string{typeCancelling, typeCancelled, typeCompleted, typeFailed, typeCrashed}); err != nil {
		return s, err
	}
	s.Silent, err = q.silent(ctx, active)
	return s, err
}

func wellFormed(ids []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !isUUID(id) })
}

// supervising is one question about Jobs.
type supervising struct {
	*Client
	// asked histories.
	asked int
	// ended are the runs that have ended. The parts of the answer are of different moments,
	// and such a run is not silent.
	ended map[string]bool
}

func (q *supervising) jobRun(ctx context.Context, r *runRow) (prefect.JobRun, error) {
	out := prefect.JobRun{ID: r.ID, Place: r.place(), Phase: phaseOf(r.StateType), StateAt: r.State.Timestamp.Time}
	if out.Phase == prefect.Cancelling {
		b, err := q.history(ctx, r)
		if err != nil {
			return out, err
		}
		out.NeverBegan = b.never
	}
	return out, nil
}

// history asks the history of a run unless too many were asked.
func (q *supervising) history(ctx context.Context, r *runRow) (began, error) {
	if _, known := q.histories.known(r.StateID); !known {
		if q.asked >= maxAsked {
			return began{}, nil
		}
		q.asked++
	}
	return q.began(ctx, r)
}

// named are the runs with these ids that are in one of the types of states, or in any.
func (q *supervising) named(ctx context.Context, ids, types []string) (out []prefect.JobRun, err error) {
	for some := range slices.Chunk(ids, maxIDs) {
		f := filter{Runs: map[string]any{"id": anyOf(some...)}, Sort: "ID_DESC"}
		if types != nil {
			f.Runs["state"] = map[string]any{"type": anyOf(types...)}
		}
		rows, _, err := q.list(ctx, listing{op: "runs_of_jobs", filter: f, pages: len(some)/pageSize + 1})
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			run, err := q.jobRun(ctx, r)
			if err != nil {
				return nil, err
			}
			out = append(out, run)
			q.ended[r.ID] = run.Phase.IsFinished()
		}
	}
	return out, nil
}

// silent are the runs without an active Job that should have one of ours.
func (q *supervising) silent(ctx context.Context, active []string) (out []prefect.JobRun, err error) {
	f := in(prefect.Scope{}, typePending, typeRunning, typeCancelling)
	f.Sort = "EXPECTED_START_TIME_ASC"
	if len(active) > 0 {
		f.Runs["id"] = map[string]any{"not_any_": active[:min(len(active), maxIDs)]}
	}
	has := map[string]bool{}
	for _, id := range active {
		has[id] = true
	}
	rows, _, err := q.list(ctx, listing{op: "silent", filter: f, pages: maxRunPages, isWanted: func(r *runRow) bool { return !has[r.ID] && !q.ended[r.ID] }})
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		claim, err := q.launched(ctx, r)
		if err != nil {
			return nil, err
		}
		if claim == nil {
			continue
		}
		run, err := q.jobRun(ctx, r)
		if err != nil {
			return nil, err
		}
		run.Claim = *claim
		out = append(out, run)
	}
	return out, nil
}

// launched is our claim of a run that has its Job as far as Prefect knows; nil if somebody
// else launched it, or if it waits for its Job.
func (q *supervising) launched(ctx context.Context, r *runRow) (*prefect.Claim, error) {
	if c, _ := r.launchedAs(); c != nil {
		return c, nil
	}
	if r.StateType == typePending {
		if c, _ := claimIn(r.State.Message); c != nil && isJob(r.PID, *c) {
			return c, nil
		}
		return nil, nil
	}
	if r.isOthers() {
		return nil, nil
	}
	b, err := q.history(ctx, r)
	return b.claim, err
}
