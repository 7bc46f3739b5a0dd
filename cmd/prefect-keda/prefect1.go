package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prefect-keda/prefect-keda/check"
	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun/source"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/scaler"
)

// agentConfigTimeout bounds the one question about the agent config.
const agentConfigTimeout = time.Minute

// ofPrefect1 is the backend of Prefect 1.x, Server and Cloud.
type ofPrefect1 struct {
	*prefect1.Client
	settings      config.Prefect
	agentConfigID string
}

func newPrefect1(o prefect1.Options, p config.Prefect) (backend, error) {
	client, err := prefect1.New(o)
	if err != nil {
		return nil, fmt.Errorf("set up the Prefect client: %w", err)
	}
	return ofPrefect1{client, p, o.AgentConfigID}, nil
}

func (b ofPrefect1) renderer(s config.Launcher, mayAsk bool) renderer {
	r := kubernetesrun.NewRenderer(jobSettings(s), source.New(nil))
	if mayAsk {
		r.Tenant = b.TenantID
	}
	return r
}

// keeping is the renderer: nothing but the run's row belongs to it, and -f reads that.
func (b ofPrefect1) keeping(s config.Launcher, mayAsk bool) keeper {
	return forgetful{b.renderer(s, mayAsk)}
}

type forgetful struct{ renderer }

func (forgetful) bundle() ([]byte, error) {
	return nil, errors.New("is for Prefect 3: for Prefect 1 save the API's answer about the flow run")
}

func (forgetful) secrets() []string { return nil }

func (ofPrefect1) marks() job.Marks { return kubernetesrun.Marks() }

func (ofPrefect1) runURL(ui string) func(id string) string { return prefect1.RunURL(ui) }

// replaces is an idle agent (prefect1 §1.1).
func (ofPrefect1) replaces() scaler.Process {
	return scaler.Process{Name: "Prefect agent", Memory: 92_000_000}
}

func (b ofPrefect1) checks(a asked) []check.Check {
	name := func(setting string) string { return settingName(a.variable(setting)) }
	return check.OfPrefect1(check.Prefect1Options{
		Address: strings.TrimRight(b.settings.Address().String(), "/"), Client: b.Client, Backend: string(b.settings.Backend), HasKey: b.settings.APIKey() != "",
		AgentConfigID: b.agentConfigID, Scope: a.scope, Anywhere: a.anywhere, Connection: a.connection,
		Settings: check.Prefect1Settings{API: name("API"), Key: name("API_KEY"), TenantID: name("TENANT_ID"), Backend: name("BACKEND")},
	})
}

func (ofPrefect1) poolJobs(context.Context, config.Launcher) ([]check.PoolJob, error) {
	return nil, nil
}

// hint says if there is no such agent config. The agent crashed at start then. We go on,
// because the config's settings change nothing.
func (b ofPrefect1) hint(ctx context.Context, log *slog.Logger, _ prefect.Scope) {
	ctx, cancel := context.WithTimeout(ctx, agentConfigTimeout)
	defer cancel()
	if err := b.AgentConfig(ctx); errors.Is(err, prefect.ErrNotFound) {
		log.WarnContext(ctx, "there is no such agent config; correct PREFECT_KEDA_AGENT_CONFIG_ID or leave it empty", "err", err)
	} else if err != nil {
		log.DebugContext(ctx, "cannot look up the agent config", "err", err)
	}
}

// prefect1Of is a backend over a file with one run, so that it is read by the same code
// as the API's answer.
func prefect1Of(file []byte, o prefect1.Options, p config.Prefect) (b backend, id string, err error) {
	row, id, err := onlyRow(file)
	if err != nil {
		return nil, "", err
	}
	o.HTTPTransport, o.TenantID = fileAPI(row), id // any tenant; else it would be asked for
	b, err = newPrefect1(o, p)
	return b, id, err
}

// onlyRow finds the run in a row, a list of one, or the API's answer.
func onlyRow(text []byte) (row json.RawMessage, id string, err error) {
	var answer struct {
		ID   string `json:"id"`
		Data struct {
			FlowRun json.RawMessage `json:"flow_run"`
		} `json:"data"`
	}
	rows := []json.RawMessage{text}
	err = json.Unmarshal(text, &answer)
	switch {
	case bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")):
		err = json.Unmarshal(text, &rows)
	case err == nil && answer.Data.FlowRun != nil:
		err = json.Unmarshal(answer.Data.FlowRun, &rows)
	}
	if err != nil {
		return nil, "", fmt.Errorf("is not a flow run in JSON: %w", err)
	}
	if len(rows) != 1 {
		return nil, "", fmt.Errorf("holds %d flow runs: give one", len(rows))
	}
	if json.Unmarshal(rows[0], &answer) != nil || answer.ID == "" {
		return nil, "", errors.New("holds no flow run: give an object with id, version, state, serialized_state, run_config and flow, as the API returns it")
	}
	return rows[0], answer.ID, nil
}

// fileAPI is a Prefect API that knows one flow run.
type fileAPI json.RawMessage

func (f fileAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Body.Close()
	body, err := json.Marshal(map[string]any{"data": map[string]any{"flow_run": []json.RawMessage{json.RawMessage(f)}}})
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(body)), Request: r,
	}, nil
}

func apiOptions(p config.Prefect, process string, log *slog.Logger, registry prometheus.Registerer, agent config.Agent) prefect1.Options {
	return prefect1.Options{
		API: p.Address().Reveal(), Key: p.APIKey().Reveal(), Headers: p.Headers.Reveal(), TenantID: p.TenantID, Backend: prefect1.Backend(p.Backend),
		AgentName: agent.Name, AgentConfigID: agent.AgentConfigID,
		RequestTimeout: p.RequestTimeout.Duration(), UserAgent: userAgent(process),
		Logger: log, Registerer: registry,
	}
}

func jobSettings(s config.Launcher) kubernetesrun.Settings {
	j := kubernetesrun.Settings{
		Namespace: s.Namespace, ServiceAccountName: s.ServiceAccountName, ImagePullSecrets: s.ImagePullSecrets,
		Labels: s.Labels, LoggingLevel: s.LoggingLevel, SendFlowRunLogs: bool(s.SendFlowRunLogs),
		Backend: string(s.Backend), API: s.Address().Reveal(), APIKey: s.APIKey().Reveal(), TenantID: s.TenantID,
		JobTemplate: s.JobTemplate, DeleteFinishedJobs: bool(s.DeleteFinishedJobs), TTLSeconds: int32(s.JobTTL / time.Second),
		PodSecurity: string(s.PodSecurity), APIKeySecret: keySecret(s),
	}
	for _, v := range s.EnvVars {
		j.Env = append(j.Env, kubernetesrun.EnvVar{Name: v.Name, Value: v.Value})
	}
	return j
}
