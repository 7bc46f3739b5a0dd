package fake

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"
)

// locked runs a lever with the services up to date.
func (a *API) locked(lever func(*store)) {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	a.store.catchUp()
	lever(a.store)
}

// asJSON is a Go value as it would come over the wire; nil is absent.
func asJSON(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	if raw, is := v.(json.RawMessage); is {
		return raw
	}
	return encode(v)
}

// Pool asks for a work pool.
type Pool struct {
	Name string
	// Type of the pool; empty for kubernetes.
	Type string
	// Template is base_job_template; nil for {}.
	Template any
	// Limit is the most runs at a time; nil for no limit.
	Limit  *int
	Paused bool
}

// CreatePool makes a work pool, or gives the one of that name these settings, and returns
// its id.
func (a *API) CreatePool(in Pool) (id string) {
	a.locked(func(s *store) {
		p := s.pools[in.Name]
		if p == nil {
			p = s.addPool(in.Name, cmp.Or(in.Type, "kubernetes"), asJSON(in.Template), in.Limit, in.Paused)
		}
		p.Limit = in.Limit
		if in.Template != nil {
			p.Template = asJSON(in.Template)
		}
		if p.Paused != in.Paused {
			s.pausePool(p, in.Paused)
		}
		p.touch(s)
		id = p.ID
	})
	return id
}

// DeletePool removes a work pool with its queues.
func (a *API) DeletePool(name string) {
	a.locked(func(s *store) {
		if p := s.pools[name]; p != nil {
			s.removePool(p)
		}
	})
}

// Queue asks for a work queue.
type Queue struct {
	Pool, Name string
	// Priority, 1 first; zero for the last.
	Priority int
	// Limit is the most runs at a time; nil for no limit.
	Limit  *int
	Paused bool
}

// CreateQueue makes a work queue, or gives the one of that name these settings, and
// returns its id.
func (a *API) CreateQueue(in Queue) (id string) {
	a.locked(func(s *store) {
		p := s.pools[in.Pool]
		if p == nil {
			p = s.addPool(in.Pool, "kubernetes", nil, nil, false)
		}
		q := s.queueNamed(p, in.Name)
		if q == nil {
			q = s.addQueue(p, in.Name, in.Priority, in.Limit)
		}
		if in.Priority != 0 {
			s.place(q, in.Priority)
		}
		q.Limit = in.Limit
		s.pauseQueue(q, in.Paused)
		q.touch(s)
		id = q.ID
	})
	return id
}

// Deployment asks for a deployment.
type Deployment struct {
	Name string
	// Flow by its name; empty for one that is always there.
	Flow string
	// Pool it runs in, made if it is not there. Queue is empty for the default one.
	Pool, Queue  string
	JobVariables any
	Parameters   any
	Entrypoint   string
	PullSteps    any
	Tags         []string
	// Limit is the most runs at a time; nil for no limit. Strategy is ENQUEUE or
	// CANCEL_NEW, and Grace how long a claim keeps its slot.
	Limit    *int
	Strategy string
	Grace    time.Duration
	// Every makes a schedule of that interval.
	Every time.Duration
}

// CreateDeployment makes a deployment and returns its id.
func (a *API) CreateDeployment(in Deployment) (id string) {
	a.locked(func(s *store) { id = s.deploy(in).ID })
	return id
}

func (s *store) deploy(in Deployment) *deployment {
	body := newDeployment{
		Name: cmp.Or(in.Name, "deployment-"+newID()[:8]), FlowID: s.flowNamed(cmp.Or(in.Flow, "flow")).ID, JobVariables: asJSON(in.JobVariables),
		Parameters: asJSON(in.Parameters), PullSteps: asJSON(in.PullSteps), Tags: in.Tags, Limit: in.Limit,
	}
	if in.Entrypoint != "" {
		body.Entrypoint = &in.Entrypoint
	}
	if in.Pool != "" {
		if s.pools[in.Pool] == nil {
			s.addPool(in.Pool, "kubernetes", nil, nil, false)
		}
		queue := cmp.Or(in.Queue, "default")
		body.PoolName, body.QueueName = &in.Pool, &queue
	}
	if in.Strategy != "" || in.Grace != 0 {
		body.Options = &slotOptions{Strategy: cmp.Or(in.Strategy, "ENQUEUE")}
		if in.Grace != 0 {
			seconds := int(in.Grace / time.Second)
			body.Options.Grace = &seconds
		}
	}
	if in.Every != 0 {
		body.Schedules = []schedule{{Schedule: encode(map[string]any{"interval": in.Every.Seconds()})}}
	}
	return s.addDeployment(body)
}

func (s *store) flowNamed(name string) *flow {
	for _, f := range s.flows {
		if f.Name == name {
			return f
		}
	}
	return s.addFlow(name, nil)
}

// PauseDeployment pauses or resumes a deployment.
func (a *API) PauseDeployment(id string, paused bool) {
	a.locked(func(s *store) {
		if d := s.deployments[id]; d != nil {
			s.pauseDeployment(d, paused)
		}
	})
}

// LimitDeployment changes a deployment's limit; nil for none. Unlike the API for
// deployments it also takes 0.
func (a *API) LimitDeployment(id string, most *int) {
	a.locked(func(s *store) {
		if d := s.deployments[id]; d != nil {
			s.limitDeployment(d, most)
		}
	})
}

// ActivateLimit turns a deployment's limit on or off. One that is off has no slot to give.
func (a *API) ActivateLimit(id string, active bool) {
	a.locked(func(s *store) {
		if d := s.deployments[id]; d != nil && d.Limit != nil {
			d.Limit.Active = active
		}
	})
}

// Taken says how many of a deployment's slots are taken.
func (a *API) Taken(id string) (taken int) {
	a.locked(func(s *store) {
		if d := s.deployments[id]; d != nil && d.Limit != nil {
			taken = d.Limit.Taken
		}
	})
	return taken
}

// DeleteDeployment removes a deployment with its scheduled runs.
func (a *API) DeleteDeployment(id string) {
	a.locked(func(s *store) {
		if d := s.deployments[id]; d != nil {
			s.removeDeployment(d)
		}
	})
}

// CreateBlock makes a block document and returns its id. The secret members are hidden
// from those who do not ask for secrets.
func (a *API) CreateBlock(slug, name string, data map[string]any, secret ...string) (id string) {
	a.locked(func(s *store) {
		b := &block{row: s.row(), Slug: slug, Name: name, Data: data, Secret: secret}
		s.blocks[b.ID] = b
		id = b.ID
	})
	return id
}

// SetVariable makes or changes a variable.
func (a *API) SetVariable(name string, value any) {
	a.locked(func(s *store) {
		s.variables[name] = &variable{row: s.row(), Name: name, Value: encode(value), Tags: []string{}}
	})
}

// Restart forgets what the server has in memory: leases, CSRF tokens, and connections of
// those who listen to events.
func (a *API) Restart() {
	a.DropStreams()
	a.locked(func(s *store) {
		clear(s.leases)
		clear(s.tokens)
	})
}

// Worker is a worker as its pool knows it.
type Worker struct {
	Name      string
	Heartbeat time.Time
	Interval  time.Duration
	Online    bool
}

// Workers are the workers that a pool knows.
func (a *API) Workers(pool string) (all []Worker) {
	a.locked(func(s *store) {
		if p := s.pools[pool]; p != nil {
			for _, w := range inOrder(p.workers) {
				of := Worker{Name: w.Name, Heartbeat: w.Heartbeat.Time, Online: w.Status == "ONLINE"}
				if w.Interval != nil {
					of.Interval = time.Duration(*w.Interval) * time.Second
				}
				all = append(all, of)
			}
		}
	})
	return all
}

// Events are the names of the newest events, oldest first.
func (a *API) Events() (names []string) {
	a.locked(func(s *store) {
		for _, e := range s.events {
			names = append(names, e.Event)
		}
	})
	return names
}

// States counts the runs of each type of state.
func (a *API) States() map[string]int {
	counts := map[string]int{}
	a.locked(func(s *store) {
		for kind, runs := range s.byState {
			if len(runs) > 0 {
				counts[kind] = len(runs)
			}
		}
	})
	return counts
}

// Logs are a flow run's log lines.
func (a *API) Logs(id string) (lines []LogLine) {
	a.locked(func(s *store) { lines = slices.Clone(s.logs[id]) })
	return lines
}
