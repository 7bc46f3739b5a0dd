package prefect3

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/recipe"
)

const (
	// labelWorker names the worker that launched a run last; a worker writes it, and so do
	// we (prefect3 §1.8).
	labelWorker = "prefect.worker.name"
	// labelClaim has our claim's note, for after the state that carried it.
	labelClaim = "prefect-keda.claim"
	// labelLease has a lease that we renewed and its end, as "ID until TIME".
	labelLease = "prefect-keda.lease"
	// inProcess is the retry of a run whose own pod waits for it (prefect3 §1.5).
	inProcess = "in_process"
	// firstKeep is how long after a claim its lease is renewed at the latest: claims hold
	// slots for a minute or more (prefect3 §2.4).
	firstKeep = 30 * time.Second
	// leaseFor is the longest renewal that a server takes.
	leaseFor = 24 * time.Hour
	// keepFor is how long after a renewal the next one is due.
	keepFor = leaseFor / 2
)

// runRow is a flow run as the API answers it, as far as it is read here.
type runRow struct {
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	Created    moment         `json:"created"`
	StateID    string         `json:"state_id"`
	StateType  string         `json:"state_type"`
	StateName  string         `json:"state_name"`
	RunCount   int            `json:"run_count"`
	Next       moment         `json:"next_scheduled_start_time"`
	Expected   moment         `json:"expected_start_time"`
	PID        string         `json:"infrastructure_pid"`
	Deployment string         `json:"deployment_id"`
	Flow       string         `json:"flow_id"`
	Pool       string         `json:"work_pool_name"`
	PoolID     string         `json:"work_pool_id"`
	QueueID    string         `json:"work_queue_id"`
	Queue      string         `json:"work_queue_name"`
	Labels     map[string]any `json:"labels"`
	Policy     struct {
		RetryType string `json:"retry_type"`
	} `json:"empirical_policy"`
	State *state `json:"state"`

	raw json.RawMessage
	// at is when it was asked for, by our own clock.
	at time.Time
	// recovered is what the history says; nil if nobody asked it.
	recovered *began
}

var errNoID = errors.New("the row has no id or no state")

// rowOf reads a row that was asked for at that time. It fails only for a row that nobody
// could act on.
func rowOf(raw json.RawMessage, at time.Time) (*runRow, error) {
	r := &runRow{raw: raw, at: at}
	err := json.Unmarshal(raw, r)
	if err != nil {
		return r, fmt.Errorf("read flow run %s: %w", r.ID, err)
	}
	if r.ID == "" || r.StateID == "" {
		return r, fmt.Errorf("read flow run %s: %w", r.ID, errNoID)
	}
	if r.State == nil { // as in a server's offer up to 3.8
		r.State = &state{ID: r.StateID, Type: r.StateType, Name: r.StateName}
		r.State.Details.Scheduled = r.Next
	}
	return r, nil
}

func (r *runRow) place() prefect.Place { return prefect.Place{Pool: r.Pool, Queue: r.Queue} }

// due is when a run may start. One that waits for a slot may be claimed before the time
// that the server has set it (prefect3 §1.7), so it has been due since it was expected.
func (r *runRow) due() time.Time {
	due := r.Next.Time
	if due.IsZero() {
		due = r.State.Details.Scheduled.Time
	}
	if r.StateName == nameAwaitsSlot && r.Expected.Before(due) {
		return r.Expected.Time
	}
	return due
}

// madeWithin is the most time between a run's creation and its first state.
const madeWithin = 10 * time.Second

// isFresh reports whether the run was never scheduled before: no pod has begun it, none was
// created, and its state is the first one, or what the server makes of that when it is
// late.
func (r *runRow) isFresh() bool {
	if r.RunCount > 0 || r.PID != "" || r.StateType != typeScheduled {
		return false
	}
	return r.StateName == nameLate || r.StateName == nameScheduled && r.State.Timestamp.Sub(r.Created.Time).Abs() < madeWithin
}

// claim is our claim of a Pending run: in its message or, if another's observer has
// overwritten that (prefect3 §1.8), in the label or the history.
func (r *runRow) claim() (c *prefect.Claim, returned int) {
	if c, returned = claimIn(r.State.Message); c != nil {
		return c, returned
	}
	if c, returned = r.launchedAs(); c == nil && r.recovered != nil {
		return r.recovered.claim, r.recovered.returned
	}
	return c, returned
}

// launchedAs is the claim that the run was last launched with: the one in our label, if the
// run's infrastructure is still that claim's Job. Another worker would have named its own.
func (r *runRow) launchedAs() (c *prefect.Claim, returned int) {
	note, _ := r.Labels[labelClaim].(string)
	c, returned = claimIn(note)
	if c == nil || !isJob(r.PID, *c) {
		return nil, 0
	}
	return c, returned
}

// isOthers reports whether another worker launched the run last.
func (r *runRow) isOthers() bool {
	c, _ := r.launchedAs()
	return c == nil && r.Labels[labelWorker] != nil
}

// pidOf names a Job as a worker does.
func pidOf(c prefect.Claim) string { return c.Namespace + ":" + c.Job }

// isJob reports whether an infrastructure id names the claim's Job. Older workers put the
// cluster's id in front (prefect3 §1.8).
func isJob(pid string, c prefect.Claim) bool {
	return c.Job != "" && (pid == pidOf(c) || strings.HasSuffix(pid, ":"+pidOf(c)))
}

// keepBy is when the run's lease must be renewed, or Prefect told of its Job, should its
// launcher have died before; zero if neither is to be done or somebody else looks after it.
func (r *runRow) keepBy() time.Time {
	claim, _ := r.claim()
	lease := r.State.Details.Lease
	isUntold := claim != nil && !isJob(r.PID, *claim)
	if r.StateType != typePending || lease == "" && !isUntold {
		return time.Time{}
	}
	kept, _ := r.Labels[labelLease].(string)
	if id, until, ok := strings.Cut(kept, " until "); ok && id == lease {
		return timeOf(until).Add(keepFor - leaseFor)
	}
	return r.State.Timestamp.Add(firstKeep)
}

// isSettled reports whether a run with our claim wants nothing of us: its Job is known to
// Prefect and its lease is kept. If that Job is gone, it must not get another: it is silent.
func (r *runRow) isSettled() bool {
	claim, _ := r.claim()
	return r.StateType == typePending && claim != nil && isJob(r.PID, *claim) && (r.keepBy().IsZero() || time.Until(r.keepBy()) > time.Minute)
}

// keptUntil is what the label says of a lease renewed just now.
func keptUntil(lease string, now time.Time) string {
	return lease + " until " + formatTime(now.Add(leaseFor))
}

func (r *runRow) recipe() recipe.Run {
	return recipe.Run{Row: r.raw, Created: r.Created.Time, Deployment: r.Deployment, Flow: r.Flow, Pool: r.Pool}
}

// run is the row in the words of package prefect.
func (r *runRow) run() prefect.FlowRun {
	out := prefect.FlowRun{
		ID: r.ID, Name: r.Name, Revision: r.StateID, Attempt: prefect.Attempt("s" + r.StateID), Fresh: r.isFresh(),
		State: r.State.domain(), Place: r.place(), Arbitrated: true, StateAt: r.State.Timestamp.Time, ReadAt: r.at, Recipe: r.recipe(),
	}
	switch out.State.Phase {
	case prefect.Waiting:
		out.Due = r.due()
		out.State.StartTime = out.Due
	case prefect.Claimed:
		if out.Claim, out.HandedBack = r.claim(); out.Claim != nil {
			out.Attempt, out.KeepBy, out.HasJob = out.Claim.Attempt, r.keepBy(), isJob(r.PID, *out.Claim)
		}
	}
	return out
}
