package prefecttest

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

const (
	queueReturns = 25
	queueReads   = 3 * queueReturns
)

type runsInQueue struct{ FlowRunIds *[]UUID }

// GetRunsInQueue reads everybody's oldest due runs and filters labels afterwards, so a
// backlog of others hides ours (prefect1-server §d). A run stays in the queue until its
// state changes.
func (q resolver) GetRunsInQueue(ctx context.Context, args struct {
	Input struct {
		Before   *Time
		Labels   labelList
		TenantID UUID
	}
},
) (*runsInQueue, error) {
	defer q.lock()()
	s, in := q.api.store, args.Input
	if in.Labels.null() {
		return nil, errors.New("'NoneType' object has no attribute 'sort'")
	}
	if id := header(ctx, headerAgent); id != "" {
		if !uuidForm.MatchString(id) {
			return nil, invalidUUID(id)
		}
		if a := s.agents[UUID(id)]; a != nil {
			a.LastQueried = s.clock()
		}
	}
	before := s.clock()
	if in.Before != nil {
		before = in.Before.Time
	}
	ids, room := []UUID{}, s.room(q.api.options.Limits)
	for _, r := range s.due(in.TenantID, before) {
		if len(ids) == queueReturns {
			break
		}
		if labelsMatch(in.Labels.Values, r.Labels) && room.take(r.Labels) {
			ids = append(ids, r.ID)
		}
	}
	return &runsInQueue{&ids}, nil
}

// due are the rows that get_runs_in_queue reads, in its order.
func (s *store) due(tenant UUID, before time.Time) []*flowRun {
	isDue := func(st state) bool {
		return IsScheduled(st.Type) && !st.StartTime.IsZero() && !st.StartTime.After(before)
	}
	var rows []*flowRun
	for _, name := range scheduledFamily() {
		for _, r := range s.byState[name] {
			if r.TenantID == tenant && isDue(r.State) {
				rows = append(rows, r)
			}
		}
	}
	for _, r := range s.byState["Running"] {
		if r.TenantID == tenant && slices.ContainsFunc(r.taskRuns, func(t *taskRun) bool { return isDue(t.State) }) {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b *flowRun) int {
		if a.State.StartTime.IsZero() != b.State.StartTime.IsZero() { // a Running run has none and comes last
			if a.State.StartTime.IsZero() {
				return 1
			}
			return -1
		}
		return cmp.Or(a.State.StartTime.Compare(b.State.StartTime), cmp.Compare(a.made, b.made))
	})
	return rows[:min(queueReads, len(rows))]
}

// labelsMatch: a run's labels must all be the agent's, and an agent with labels gets no
// runs without.
func labelsMatch(agent, run []string) bool {
	if len(agent) > 0 && len(run) == 0 {
		return false
	}
	return !slices.ContainsFunc(run, func(l string) bool { return !slices.Contains(agent, l) })
}

// room is the number of runs that Cloud's limits still allow, by label.
type room map[string]int

func (s *store) room(limits map[string]int) room {
	if len(limits) == 0 {
		return nil // OSS has none (prefect1-server §e)
	}
	left := room{}
	maps.Copy(left, limits)
	for _, name := range []string{"Submitted", "Running"} {
		for _, r := range s.byState[name] {
			for _, l := range r.Labels {
				if _, limited := left[l]; limited {
					left[l]--
				}
			}
		}
	}
	return left
}

func (left room) take(labels []string) bool {
	for _, l := range labels {
		if n, limited := left[l]; limited && n <= 0 {
			return false
		}
	}
	for _, l := range labels {
		if _, limited := left[l]; limited {
			left[l]--
		}
	}
	return true
}
