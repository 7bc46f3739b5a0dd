package fake

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
)

// run is a flow run.
type run struct {
	row
	Name          string            `json:"name"`
	FlowID        string            `json:"flow_id"`
	StateID       string            `json:"state_id"`
	DeploymentID  *string           `json:"deployment_id"`
	Version       *string           `json:"deployment_version"`
	QueueID       *string           `json:"work_queue_id"`
	QueueName     *string           `json:"work_queue_name"`
	FlowVersion   *string           `json:"flow_version"`
	Parameters    json.RawMessage   `json:"parameters"`
	Key           *string           `json:"idempotency_key"`
	Context       json.RawMessage   `json:"context"`
	Policy        policy            `json:"empirical_policy"`
	Tags          []string          `json:"tags"`
	Labels        map[string]string `json:"labels"`
	Parent        *string           `json:"parent_task_run_id"`
	StateType     string            `json:"state_type"`
	StateName     string            `json:"state_name"`
	Count         int               `json:"run_count"`
	Expected      stamp             `json:"expected_start_time"`
	Next          stamp             `json:"next_scheduled_start_time"`
	StartTime     stamp             `json:"start_time"`
	EndTime       stamp             `json:"end_time"`
	Total         float64           `json:"total_run_time"`
	Estimated     float64           `json:"estimated_run_time"`
	Delta         float64           `json:"estimated_start_time_delta"`
	AutoScheduled bool              `json:"auto_scheduled"`
	InfraDocument *string           `json:"infrastructure_document_id"`
	PID           *string           `json:"infrastructure_pid"`
	CreatedBy     any               `json:"created_by"`
	WorkPoolID    *string           `json:"work_pool_id"`
	WorkPoolName  *string           `json:"work_pool_name"`
	State         *state            `json:"state"`
	JobVariables  json.RawMessage   `json:"job_variables"`

	state      *state
	history    []*state
	queue      *queue
	deployment *deployment
}

type policy struct {
	MaxRetries int      `json:"max_retries"`
	Delay      float64  `json:"retry_delay_seconds"`
	Retries    *int     `json:"retries"`
	RetryDelay *int     `json:"retry_delay"`
	PauseKeys  []string `json:"pause_keys"`
	Resuming   bool     `json:"resuming"`
	RetryType  *string  `json:"retry_type"`
}

// show is a run as the API answers it now.
func (s *store) show(r *run) run {
	out := *r
	now := s.clock()
	out.StateID, out.StateType, out.StateName, out.State = r.state.ID, r.state.Type, r.state.Name, r.state
	if r.state.Type == running {
		out.Estimated = r.Total + now.Sub(r.state.Timestamp.Time).Seconds()
	} else {
		out.Estimated = r.Total
	}
	switch {
	case !r.StartTime.IsZero() && r.StartTime.After(r.Expected.Time):
		out.Delta = r.StartTime.Sub(r.Expected.Time).Seconds()
	case r.StartTime.IsZero() && !IsFinished(r.state.Type) && now.After(r.Expected.Time):
		out.Delta = now.Sub(r.Expected.Time).Seconds()
	}
	if q := r.queue; q != nil {
		out.QueueID, out.QueueName, out.WorkPoolID, out.WorkPoolName = &q.ID, &q.Name, &q.pool.ID, &q.PoolName
	}
	return out
}

// newRun is the body that creates a run, of a deployment or without.
type newRun struct {
	State        *proposal       `json:"state"`
	Name         string          `json:"name"`
	FlowID       string          `json:"flow_id"`
	Parameters   json.RawMessage `json:"parameters"`
	Context      json.RawMessage `json:"context"`
	Tags         []string        `json:"tags"`
	JobVariables json.RawMessage `json:"job_variables"`
	Policy       policy          `json:"empirical_policy"`
	PoolName     *string         `json:"work_pool_name"`
	QueueName    *string         `json:"work_queue_name"`
	Key          *string         `json:"idempotency_key"`
}

func (a *API) createRun(q *ask) (int, any) {
	in := newRun{State: &proposal{Type: pending}}
	if status, out := q.decode(&in); status != 0 {
		return status, out
	}
	if in.PoolName != nil && !a.version.since(withPrefect3) {
		return q.invalid(extra("work_pool_name"))
	}
	s := a.store
	if s.flows[in.FlowID] == nil {
		return missing("Flow not found")
	}
	var at *queue
	if in.PoolName != nil {
		p := s.pools[*in.PoolName]
		if p == nil {
			return missing("Work pool %q not found.", *in.PoolName)
		}
		name := "default"
		if in.QueueName != nil {
			name = *in.QueueName
		}
		if at = s.queueNamed(p, name); at == nil {
			at = s.addQueue(p, name, 0, nil)
		}
	}
	return http.StatusCreated, s.show(s.addRun(in, nil, at))
}

func (a *API) createRunOf(q *ask) (int, any) {
	d, status, out := a.deployment(q)
	if status != 0 {
		return status, out
	}
	in := newRun{State: &proposal{Type: scheduled}}
	if status, out = q.decode(&in); status != 0 {
		return status, out
	}
	in.FlowID = d.FlowID
	s := a.store
	if in.Key != nil {
		for _, r := range s.runs {
			if r.deployment == d && r.Key != nil && *r.Key == *in.Key {
				return http.StatusOK, s.show(r)
			}
		}
	}
	at := d.queue
	if in.QueueName != nil && at != nil {
		if named := s.queueNamed(at.pool, *in.QueueName); named != nil {
			at = named
		}
	}
	return http.StatusCreated, s.show(s.addRun(in, d, at))
}

// addRun makes a run and tells of it.
func (s *store) addRun(in newRun, d *deployment, at *queue) *run {
	r := s.makeRun(in, d, at)
	s.tellRun(r, nil)
	return r
}

// makeRun makes a run and tells nobody.
func (s *store) makeRun(in newRun, d *deployment, at *queue) *run {
	r := &run{
		row: s.row(), Name: in.Name, FlowID: in.FlowID, Parameters: object(in.Parameters), Key: in.Key, Context: object(in.Context),
		Policy: in.Policy, Tags: orEmpty(in.Tags), Labels: map[string]string{"prefect.flow.id": in.FlowID}, JobVariables: object(in.JobVariables),
		queue: at, deployment: d,
	}
	if r.Name == "" {
		r.Name = s.name()
	}
	if r.Policy.PauseKeys == nil {
		r.Policy.PauseKeys = []string{}
	}
	if d != nil {
		r.DeploymentID, r.Version, r.Labels["prefect.deployment.id"] = &d.ID, d.Version, d.ID
		if len(in.Parameters) == 0 {
			r.Parameters = d.Parameters
		}
		if len(in.Tags) == 0 {
			r.Tags = d.Tags
		}
	}
	s.runs[r.ID] = r
	first := in.State
	if first == nil {
		first = &proposal{Type: pending}
	}
	s.enter(r, first.state(s, r.ID))
	return r
}

func (s *store) deleteRun(r *run) {
	if slices.Contains(slotStates(), r.state.Type) {
		s.release(r)
	}
	delete(s.runs, r.ID)
	delete(s.byState[r.state.Type], r.ID)
	delete(s.logs, r.ID)
}

func (s *store) inState(kinds ...string) []*run {
	all := map[string]*run{}
	for _, kind := range kinds {
		maps.Copy(all, s.byState[kind])
	}
	return inOrder(all)
}

func (a *API) run(q *ask) (*run, int, any) {
	id := q.PathValue("id")
	if r := a.store.runs[id]; r != nil {
		return r, 0, nil
	}
	status, out := missing("Flow run not found")
	if !uuidForm.MatchString(id) {
		status, out = missing("Not Found")
	}
	return nil, status, out
}

func (a *API) readRun(q *ask) (int, any) {
	r, status, out := a.run(q)
	if status != 0 {
		return status, out
	}
	return http.StatusOK, a.store.show(r)
}

func (a *API) removeRun(q *ask) (int, any) {
	r, status, out := a.run(q)
	if status != 0 {
		return status, out
	}
	a.store.deleteRun(r)
	return http.StatusNoContent, nil
}

// changeRun writes what may change. Only job variables need a run that waits
// (prefect3 §1.8).
func (a *API) changeRun(q *ask) (int, any) {
	r, status, out := a.run(q)
	if status != 0 {
		return status, out
	}
	var in struct {
		Name         *string         `json:"name"`
		PID          given[string]   `json:"infrastructure_pid"`
		JobVariables json.RawMessage `json:"job_variables"`
		Tags         []string        `json:"tags"`
		Parameters   json.RawMessage `json:"parameters"`
		Policy       *policy         `json:"empirical_policy"`
	}
	if status, out = q.decode(&in); status != 0 {
		return status, out
	}
	if in.JobVariables != nil {
		if r.state.Type != scheduled {
			return http.StatusBadRequest, refusal{Detail: "Job variables for a flow run in state " + r.state.Type + " cannot be updated"}
		}
		r.JobVariables = in.JobVariables
	}
	if in.PID.Is {
		r.PID = in.PID.Value
	}
	if in.Name != nil {
		r.Name = *in.Name
	}
	if in.Tags != nil {
		r.Tags = in.Tags
	}
	if in.Parameters != nil {
		r.Parameters = in.Parameters
	}
	if in.Policy != nil {
		r.Policy = *in.Policy
	}
	r.touch(a.store)
	return http.StatusNoContent, nil
}

func (a *API) labelRun(q *ask) (int, any) {
	if !a.version.since(withRunLabels) {
		return missing("Not Found")
	}
	r := a.store.runs[q.PathValue("id")]
	if r == nil {
		return http.StatusNotFound, refusal{Exception: "Flow run with id " + q.PathValue("id") + " not found"}
	}
	var in map[string]string
	if status, out := q.decode(&in); status != 0 {
		return status, out
	}
	maps.Copy(r.Labels, in)
	return http.StatusNoContent, nil
}

func (a *API) readStates(q *ask) (int, any) {
	states := []*state{}
	if r := a.store.runs[q.URL.Query().Get("flow_run_id")]; r != nil {
		states = append(states, r.history...)
	}
	return http.StatusOK, states
}
