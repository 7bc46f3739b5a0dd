package fake

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
)

// flow is a flow.
type flow struct {
	row
	Name   string            `json:"name"`
	Tags   []string          `json:"tags"`
	Labels map[string]string `json:"labels"`
}

// deployment is a deployment.
type deployment struct {
	row
	Name         string            `json:"name"`
	Version      *string           `json:"version"`
	Description  *string           `json:"description"`
	FlowID       string            `json:"flow_id"`
	Paused       bool              `json:"paused"`
	Schedules    []schedule        `json:"schedules"`
	Old          *int              `json:"concurrency_limit"` // always null
	Limit        *limit            `json:"global_concurrency_limit"`
	Options      *slotOptions      `json:"concurrency_options"`
	JobVariables json.RawMessage   `json:"job_variables"`
	Parameters   json.RawMessage   `json:"parameters"`
	Tags         []string          `json:"tags"`
	Labels       map[string]string `json:"labels"`
	QueueName    *string           `json:"work_queue_name"`
	QueueID      *string           `json:"work_queue_id"`
	LastPolled   stamp             `json:"last_polled"`
	Schema       json.RawMessage   `json:"parameter_openapi_schema"`
	Path         *string           `json:"path"`
	PullSteps    json.RawMessage   `json:"pull_steps"`
	Entrypoint   *string           `json:"entrypoint"`
	Storage      *string           `json:"storage_document_id"`
	Infra        *string           `json:"infrastructure_document_id"`
	CreatedBy    any               `json:"created_by"`
	UpdatedBy    any               `json:"updated_by"`
	PoolName     *string           `json:"work_pool_name"`
	Status       string            `json:"status"`
	Enforce      bool              `json:"enforce_parameter_schema"`

	queue    *queue
	nextLook stamp // at the schedules
}

// slotOptions say what a deployment does with runs beyond its limit.
type slotOptions struct {
	Strategy string `json:"collision_strategy"`
	Grace    *int   `json:"grace_period_seconds"`
}

// object is a JSON object, {} when it is absent.
func object(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 || string(raw) == "null" {
		return json.RawMessage("{}")
	}
	return raw
}

func (a *API) createFlow(q *ask) (int, any) {
	var in struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}
	if status, out := q.decode(&in); status != 0 {
		return status, out
	}
	for _, f := range a.store.flows {
		if f.Name == in.Name {
			return http.StatusOK, f
		}
	}
	return http.StatusCreated, a.store.addFlow(in.Name, in.Tags)
}

func (s *store) addFlow(name string, tags []string) *flow {
	f := &flow{row: s.row(), Name: name, Tags: orEmpty(tags), Labels: map[string]string{}}
	s.flows[f.ID] = f
	return f
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func (a *API) readFlow(q *ask) (int, any) {
	if f := a.store.flows[q.PathValue("id")]; f != nil {
		return http.StatusOK, f
	}
	return missing("Flow not found")
}

// newDeployment is the body that creates one.
type newDeployment struct {
	Name         string          `json:"name"`
	FlowID       string          `json:"flow_id"`
	PoolName     *string         `json:"work_pool_name"`
	QueueName    *string         `json:"work_queue_name"`
	JobVariables json.RawMessage `json:"job_variables"`
	Overrides    json.RawMessage `json:"infra_overrides"`
	Parameters   json.RawMessage `json:"parameters"`
	Tags         []string        `json:"tags"`
	Path         *string         `json:"path"`
	Entrypoint   *string         `json:"entrypoint"`
	PullSteps    json.RawMessage `json:"pull_steps"`
	Paused       bool            `json:"paused"`
	Schedules    []schedule      `json:"schedules"`
	Limit        *int            `json:"concurrency_limit"`
	Options      *slotOptions    `json:"concurrency_options"`
	Enforce      *bool           `json:"enforce_parameter_schema"`
	Version      *string         `json:"version"`
	About        *string         `json:"description"`
}

func (a *API) createDeployment(q *ask) (int, any) {
	var in newDeployment
	if status, out := q.decode(&in); status != 0 {
		return status, out
	}
	s := a.store
	switch {
	case in.Limit != nil && !a.version.since(withPrefect3):
		return q.invalid(extra("concurrency_limit"))
	case in.Limit != nil && *in.Limit < 1:
		return q.invalid(problem{
			Type: "greater_than", Loc: []any{"concurrency_limit"}, Msg: "Input should be greater than 0", Input: *in.Limit, Context: map[string]any{"gt": 0},
		})
	case s.flows[in.FlowID] == nil:
		return missing("Flow not found")
	case in.PoolName != nil && s.pools[*in.PoolName] == nil:
		return missing("Work pool %q not found.", *in.PoolName)
	}
	for _, old := range s.deployments {
		if old.Name == in.Name && old.FlowID == in.FlowID {
			old.change(s, in)
			return http.StatusOK, old
		}
	}
	return http.StatusCreated, s.addDeployment(in)
}

func (s *store) addDeployment(in newDeployment) *deployment {
	d := &deployment{row: s.row(), Name: in.Name, FlowID: in.FlowID, Status: notReady, Labels: map[string]string{"prefect.flow.id": in.FlowID}}
	s.deployments[d.ID] = d
	d.change(s, in)
	return d
}

// change gives a deployment all of its settings.
func (d *deployment) change(s *store, in newDeployment) {
	d.Version, d.Description, d.Paused, d.Tags, d.Path, d.Entrypoint = in.Version, in.About, in.Paused, orEmpty(in.Tags), in.Path, in.Entrypoint
	d.JobVariables, d.Parameters, d.Schema, d.PullSteps = object(in.JobVariables), object(in.Parameters), object(nil), in.PullSteps
	if len(in.JobVariables) == 0 {
		d.JobVariables = object(in.Overrides)
	}
	if len(d.PullSteps) == 0 || string(d.PullSteps) == "null" {
		d.PullSteps = json.RawMessage("[]")
	}
	d.Enforce = in.Enforce == nil || *in.Enforce
	d.Options = in.Options
	s.limitDeployment(d, in.Limit)
	d.reschedule(s, in.Schedules)
	if in.PoolName != nil {
		p, name := s.pools[*in.PoolName], "default"
		if in.QueueName != nil {
			name = *in.QueueName
		}
		if d.queue = s.queueNamed(p, name); d.queue == nil { // the server makes what is missing
			d.queue = s.addQueue(p, name, 0, nil)
		}
		d.PoolName, d.QueueName, d.QueueID = &p.Name, &d.queue.Name, &d.queue.ID
	}
	d.touch(s)
}

func (a *API) deployment(q *ask) (*deployment, int, any) {
	if d := a.store.deployments[q.PathValue("id")]; d != nil {
		return d, 0, nil
	}
	status, out := missing("Deployment not found")
	return nil, status, out
}

func (a *API) readDeployment(q *ask) (int, any) {
	d, status, out := a.deployment(q)
	if status != 0 {
		return status, out
	}
	return http.StatusOK, d
}

func (a *API) listDeployments(q *ask) (int, any) {
	var in struct {
		page
		Deployments struct {
			ID   *anyOf `json:"id"`
			Name *anyOf `json:"name"`
		} `json:"deployments"`
		Pools poolFilter `json:"work_pools"`
	}
	if status, out := q.decodePage(&in, &in.page); status != 0 {
		return status, out
	}
	rows := []*deployment{}
	byName := func(a, b *deployment) int { return cmp.Or(cmp.Compare(a.Name, b.Name), a.made-b.made) }
	for _, d := range slices.SortedFunc(maps.Values(a.store.deployments), byName) {
		if in.Deployments.ID.takes(d.ID) && in.Deployments.Name.takes(d.Name) && in.Pools.takes(d.queue.inPool()) {
			rows = append(rows, d)
		}
	}
	return http.StatusOK, paged(rows, in.page)
}

func (a *API) changeDeployment(q *ask) (int, any) {
	d, status, out := a.deployment(q)
	if status != 0 {
		return status, out
	}
	var in struct {
		Paused       *bool           `json:"paused"`
		JobVariables json.RawMessage `json:"job_variables"`
		Limit        given[int]      `json:"concurrency_limit"`
		Options      *slotOptions    `json:"concurrency_options"`
		Schedules    []schedule      `json:"schedules"`
	}
	if status, out = q.decode(&in); status != 0 {
		return status, out
	}
	if in.JobVariables != nil {
		d.JobVariables = in.JobVariables
	}
	if in.Limit.Is {
		a.store.limitDeployment(d, in.Limit.Value)
	}
	if in.Options != nil {
		d.Options = in.Options
	}
	if in.Schedules != nil {
		d.reschedule(a.store, in.Schedules)
	}
	if in.Paused != nil {
		a.store.pauseDeployment(d, *in.Paused)
	}
	d.touch(a.store)
	return http.StatusNoContent, nil
}

func (a *API) pause(q *ask) (int, any) { return a.pauseIs(q, true) }

func (a *API) unpause(q *ask) (int, any) { return a.pauseIs(q, false) }

func (a *API) pauseIs(q *ask, paused bool) (int, any) {
	d, status, out := a.deployment(q)
	if status != 0 {
		return status, out
	}
	a.store.pauseDeployment(d, paused)
	return http.StatusOK, nothing
}

// pauseDeployment deletes the runs that the schedules made. Others stay claimable
// (prefect3 §1.5).
func (s *store) pauseDeployment(d *deployment, paused bool) {
	d.Paused = paused
	if paused {
		s.deleteScheduled(d)
	} else {
		d.reschedule(s, d.Schedules)
	}
}

func (a *API) deleteDeployment(q *ask) (int, any) {
	d, status, out := a.deployment(q)
	if status != 0 {
		return status, out
	}
	a.store.removeDeployment(d)
	return http.StatusNoContent, nil
}

// removeDeployment also deletes its scheduled runs. The others lose it.
func (s *store) removeDeployment(d *deployment) {
	delete(s.deployments, d.ID)
	if d.Limit != nil {
		delete(s.limits, d.Limit.ID)
	}
	for _, r := range inOrder(s.runs) {
		switch {
		case r.deployment != d:
		case r.state.Type == scheduled:
			s.deleteRun(r)
		default:
			r.deployment, r.DeploymentID = nil, nil
		}
	}
}

// deleteScheduled deletes the runs that a deployment's schedules made and nobody claimed.
func (s *store) deleteScheduled(d *deployment) {
	if len(d.Schedules) == 0 {
		return
	}
	for _, r := range inOrder(s.byState[scheduled]) {
		if r.deployment == d && r.AutoScheduled {
			s.deleteRun(r)
		}
	}
	for i := range d.Schedules {
		d.Schedules[i].until = stamp{}
	}
	d.nextLook = stamp{}
}
