package prefectapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Deployment is how a flow is to run.
type Deployment struct {
	Flow, Name, Pool, Queue string
	// Entrypoint is FILE:FUNCTION in the flow image's directory of flows.
	Entrypoint   string
	JobVariables map[string]any
	// Limit is how many runs there may be at once; 0 means no limit.
	Limit int
	// Every makes a schedule with that interval, from First on.
	Every time.Duration
	First time.Time
}

// CreateDeployment makes a deployment and its flow, and returns the deployment's id.
func (c *Client) CreateDeployment(ctx context.Context, d Deployment) (string, error) {
	var made struct{ ID string }
	if err := c.call(ctx, http.MethodPost, "/flows/", map[string]any{"name": d.Flow}, &made); err != nil {
		return "", err
	}
	body := map[string]any{
		"name": d.Name, "flow_id": made.ID, "work_pool_name": d.Pool, "entrypoint": d.Entrypoint,
		"pull_steps":               []any{map[string]any{"prefect.deployments.steps.set_working_directory": map[string]any{"directory": "/opt/flows"}}},
		"enforce_parameter_schema": false,
	}
	if d.JobVariables != nil {
		body["job_variables"] = d.JobVariables
	}
	if d.Queue != "" {
		body["work_queue_name"] = d.Queue
	}
	if d.Limit > 0 {
		body["concurrency_limit"] = d.Limit
	}
	if d.Every > 0 {
		body["schedules"] = []any{map[string]any{"active": true, "schedule": map[string]any{
			"interval": d.Every.Seconds(), "anchor_date": d.First.UTC().Format(time.RFC3339Nano),
		}}}
	}
	err := c.call(ctx, http.MethodPost, "/deployments/", body, &made)
	return made.ID, err
}

// Order says which flow runs to create.
type Order struct {
	// At is when they are due; zero means now.
	At           time.Time
	Parameters   map[string]any
	JobVariables map[string]any
}

// CreateRun creates a flow run of a deployment, as the UI's button does, and returns its id.
func (c *Client) CreateRun(ctx context.Context, deployment string, o Order) (string, error) {
	body := map[string]any{}
	if o.Parameters != nil {
		body["parameters"] = o.Parameters
	}
	if o.JobVariables != nil {
		body["job_variables"] = o.JobVariables
	}
	if !o.At.IsZero() {
		body["state"] = map[string]any{"type": "SCHEDULED", "state_details": map[string]any{"scheduled_time": o.At.UTC().Format(time.RFC3339Nano)}}
	}
	var made struct{ ID string }
	err := c.call(ctx, http.MethodPost, "/deployments/"+deployment+"/create_flow_run", body, &made)
	return made.ID, err
}

// State is a state of a flow run.
type State struct {
	Type      string    `json:"type"`
	Name      string    `json:"name"`
	Message   string    `json:"message"`
	Timestamp time.Time `json:"timestamp"`
}

// Run is a flow run.
type Run struct {
	ID                string          `json:"id"`
	Name              string          `json:"name"`
	State             State           `json:"state"`
	DeploymentID      string          `json:"deployment_id"`
	Expected          time.Time       `json:"expected_start_time"`
	Next              time.Time       `json:"next_scheduled_start_time"`
	InfrastructurePID string          `json:"infrastructure_pid"`
	WorkPoolName      string          `json:"work_pool_name"`
	WorkQueueName     string          `json:"work_queue_name"`
	Labels            map[string]any  `json:"labels"`
	RunCount          int             `json:"run_count"`
	JobVariables      json.RawMessage `json:"job_variables"`
}

// page is the largest that the server answers.
const page = 200

// Runs reads the flow runs of a work pool, all of them.
func (c *Client) Runs(ctx context.Context, pool string) ([]Run, error) {
	var all []Run
	for {
		got, err := c.filter(ctx, map[string]any{"work_pools": map[string]any{"name": map[string]any{"any_": []string{pool}}}}, len(all))
		if all = append(all, got...); err != nil || len(got) < page {
			return all, err
		}
	}
}

// RunsByID reads flow runs.
func (c *Client) RunsByID(ctx context.Context, ids []string) ([]Run, error) {
	var all []Run
	for some := range slices.Chunk(ids, page) {
		got, err := c.filter(ctx, map[string]any{"flow_runs": map[string]any{"id": map[string]any{"any_": some}}}, 0)
		if all = append(all, got...); err != nil {
			return all, err
		}
	}
	return all, nil
}

func (c *Client) filter(ctx context.Context, filter map[string]any, offset int) ([]Run, error) {
	filter["sort"], filter["limit"], filter["offset"] = "ID_DESC", page, offset
	var got []Run
	err := c.call(ctx, http.MethodPost, "/flow_runs/filter", filter, &got)
	return got, err
}

// Run reads one flow run.
func (c *Client) Run(ctx context.Context, id string) (Run, error) {
	var r Run
	err := c.call(ctx, http.MethodGet, "/flow_runs/"+id, nil, &r)
	return r, err
}

// States are those that a flow run went through, oldest first.
func (c *Client) States(ctx context.Context, run string) ([]State, error) {
	var states []State
	err := c.call(ctx, http.MethodGet, "/flow_run_states/?flow_run_id="+url.QueryEscape(run), nil, &states)
	return states, err
}

// SetState proposes a state, and says what the server made of it.
func (c *Client) SetState(ctx context.Context, run, stateType, name string, force bool) (status string, err error) {
	var answer struct{ Status string }
	err = c.call(ctx, http.MethodPost, "/flow_runs/"+run+"/set_state", map[string]any{
		"state": map[string]any{"type": stateType, "name": name}, "force": force,
	}, &answer)
	return answer.Status, err
}

// Cancel does what the UI's button does.
func (c *Client) Cancel(ctx context.Context, run string) error {
	_, err := c.SetState(ctx, run, "CANCELLING", "Cancelling", false)
	return err
}

// Logs are the lines of a flow run's log, oldest first; at most one page of them.
func (c *Client) Logs(ctx context.Context, run string) ([]string, error) {
	var lines []struct{ Message string }
	err := c.call(ctx, http.MethodPost, "/logs/filter", map[string]any{
		"logs": map[string]any{"flow_run_id": map[string]any{"any_": []string{run}}}, "sort": "TIMESTAMP_ASC", "limit": page,
	}, &lines)
	var all []string
	for _, l := range lines {
		all = append(all, l.Message)
	}
	return all, err
}
