package fake

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Pod is the User-Agent of the Prefect client in a pod. By it the server knows that the
// pod renews its lease (prefect3 §2.4).
const Pod = "prefect/" + Newest + " (API 0.8.4)"

// Order asks for flow runs.
type Order struct {
	// Deployment by its id; empty for none. A run without one has a Pool.
	Deployment string
	// Pool it waits in, made if it is not there; ignored with a deployment. Queue is empty
	// for the default one, or the deployment's.
	Pool, Queue string
	// Count of runs; zero is one.
	Count int
	Name  string
	// At is when they are due; zero is now.
	At           time.Time
	JobVariables any
	Parameters   any
	Tags         []string
	// State they begin in; empty for SCHEDULED. A client that uploads a bundle begins with
	// PENDING.
	State string
	// Retries is how often such a run tries again in its own pod, after RetryDelay.
	Retries    int
	RetryDelay time.Duration
}

// CreateRuns creates flow runs as the API does, and returns their ids.
func (a *API) CreateRuns(o Order) (ids []string) {
	a.locked(func(s *store) {
		d, at := s.deployments[o.Deployment], s.placeOf(o)
		in := newRun{Name: o.Name, FlowID: s.flowNamed("flow").ID, JobVariables: asJSON(o.JobVariables), Parameters: asJSON(o.Parameters), Tags: o.Tags}
		if d != nil {
			in.FlowID = d.FlowID
		}
		if o.Retries > 0 {
			delay := int(o.RetryDelay / time.Second)
			in.Policy.Retries, in.Policy.RetryDelay = &o.Retries, &delay
		}
		for range max(1, o.Count) {
			p := proposal{Type: cmp.Or(o.State, scheduled)}
			if p.Type == scheduled {
				p.Details.ScheduledTime = stamp{o.At.UTC().Truncate(time.Microsecond)}
			}
			in.State = &p
			ids = append(ids, s.addRun(in, d, at).ID)
		}
	})
	return ids
}

func (s *store) placeOf(o Order) *queue {
	pool := o.Pool
	if d := s.deployments[o.Deployment]; d != nil {
		if d.queue == nil || o.Queue == "" {
			return d.queue
		}
		pool = d.queue.PoolName
	}
	if pool == "" {
		return nil
	}
	p := s.pools[pool]
	if p == nil {
		p = s.addPool(pool, "kubernetes", nil, nil, false)
	}
	if q := s.queueNamed(p, cmp.Or(o.Queue, "default")); q != nil {
		return q
	}
	return s.addQueue(p, o.Queue, 0, nil)
}

// Proposal is a state that a pod, a person or another worker proposes.
type Proposal struct {
	Type    string
	Name    string
	Message string
	// At is the time of a SCHEDULED state; zero is now.
	At time.Time
	// Transition is the id of the proposal; empty for none.
	Transition string
	// Data is what the run returned.
	Data any
	// Reschedule makes a pause that ends the pod.
	Reschedule bool
	// Force skips the rules.
	Force bool
	// Agent is the client's User-Agent, as Pod.
	Agent string
}

// Answer is what the server says to a proposal, with the run's state then.
type Answer struct {
	Status, Reason      string
	Type, Name, Message string
	Delay               time.Duration
}

// Propose puts a proposal before the server's rules. An unknown run gets no answer.
func (a *API) Propose(id string, in Proposal) (out Answer) {
	a.locked(func(s *store) {
		r := s.runs[id]
		if r == nil {
			return
		}
		p := proposal{Type: in.Type, Name: in.Name, Data: in.Data}
		if in.Message != "" {
			p.Message = &in.Message
		}
		if in.Transition != "" {
			p.Details.TransitionID = &in.Transition
		}
		if in.Type == scheduled {
			p.Details.ScheduledTime = stamp{in.At.UTC().Truncate(time.Microsecond)}
		}
		p.Details.PauseReschedul = in.Reschedule
		got := s.propose(r, p, in.Force, in.Agent)
		out = Answer{Status: got.Status, Type: got.State.Type, Name: got.State.Name, Message: deref(got.State.Message)}
		out.Reason, _ = got.Details["reason"].(string)
		if delay, is := got.Details["delay_seconds"].(int); is {
			out.Delay = time.Duration(delay) * time.Second
		}
	})
	return out
}

// Begin is a pod that begins with its run and renews its lease from now on.
func (a *API) Begin(id string) Answer {
	out := a.Propose(id, Proposal{Type: running, Agent: Pod})
	a.locked(func(s *store) {
		if r := s.runs[id]; r != nil {
			if l := s.leases[deref(r.state.Details.Lease)]; l != nil && out.Status == accept {
				l.kept = true
			}
		}
	})
	return out
}

// End is a pod that ends its run with COMPLETED, FAILED, CRASHED or CANCELLED.
func (a *API) End(id, kind, message string) Answer {
	return a.Propose(id, Proposal{Type: kind, Message: message, Agent: Pod})
}

// Reschedule is a pod that is asked to go and lets its run begin anew elsewhere.
func (a *API) Reschedule(id string) Answer {
	return a.Propose(id, Proposal{Type: scheduled, Name: "AwaitingRetry", Agent: Pod})
}

// Cancel is the UI's cancel button.
func (a *API) Cancel(id string) Answer { return a.Propose(id, Proposal{Type: cancelling}) }

// Retry is the UI's retry button.
func (a *API) Retry(id string) Answer {
	return a.Propose(id, Proposal{Type: scheduled, Name: "AwaitingRetry", Message: "Retry from the UI", Force: true})
}

// Delete removes a flow run for good.
func (a *API) Delete(id string) {
	a.locked(func(s *store) {
		if r := s.runs[id]; r != nil {
			s.deleteRun(r)
		}
	})
}

// SetPID writes a run's infrastructure_pid, as another worker would.
func (a *API) SetPID(id, pid string) {
	a.locked(func(s *store) {
		if r := s.runs[id]; r != nil {
			r.PID = &pid
		}
	})
}

// Run is a flow run for tests to look at.
type Run struct {
	ID, Name             string
	Deployment           string
	Pool, Queue          string
	Type, State, Message string
	StateID              string
	Transition, Lease    string
	Count                int
	Due, Start, End      time.Time
	PID                  string
	Labels               map[string]string
	History              []Change
}

// Change is one state a flow run was given.
type Change struct {
	ID, Type, Name, Message string
	At                      time.Time
}

// Runs returns the runs with these ids, or all of them, oldest first.
func (a *API) Runs(ids ...string) []Run {
	all := []Run{}
	a.locked(func(s *store) {
		for _, r := range inOrder(s.runs) {
			if len(ids) == 0 || slices.Contains(ids, r.ID) {
				all = append(all, r.look())
			}
		}
	})
	return all
}

func (r *run) look() Run {
	out := Run{
		ID: r.ID, Name: r.Name, Deployment: deref(r.DeploymentID), Type: r.state.Type, State: r.state.Name, Message: deref(r.state.Message),
		StateID: r.state.ID, Transition: deref(r.state.Details.TransitionID), Lease: deref(r.state.Details.Lease), Count: r.Count,
		Due: r.Next.Time, Start: r.StartTime.Time, End: r.EndTime.Time, PID: deref(r.PID), Labels: maps.Clone(r.Labels),
	}
	if r.queue != nil {
		out.Pool, out.Queue = r.queue.PoolName, r.queue.Name
	}
	for _, st := range r.history {
		out.History = append(out.History, Change{st.ID, st.Type, st.Name, deref(st.Message), st.Timestamp.Time})
	}
	return out
}
