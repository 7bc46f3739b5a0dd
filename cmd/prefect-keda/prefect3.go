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
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/check"
	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/workpool"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/recipe"
	"github.com/prefect-keda/prefect-keda/scaler"
)

// ofPrefect3 is the backend of Prefect 3 and 2, Server and Cloud.
type ofPrefect3 struct {
	*prefect3.Client
	settings config.Prefect
	// source is what Jobs are made of: the client, or a file.
	source workpool.Source
}

func newPrefect3(o prefect3.Options, p config.Prefect) (backend, error) {
	client, err := prefect3.New(o)
	if err != nil {
		return nil, fmt.Errorf("set up the Prefect client: %w", err)
	}
	return ofPrefect3{client, p, client}, nil
}

func (b ofPrefect3) renderer(s config.Launcher, _ bool) renderer {
	return workpool.NewRenderer(workPoolSettings(s), b.source)
}

// Announce tells work pools that a worker is there, if that is wanted.
func (b ofPrefect3) Announce(ctx context.Context, scope prefect.Scope) error {
	if !b.settings.Announce {
		return nil
	}
	return b.Client.Announce(ctx, scope)
}

func (ofPrefect3) marks() job.Marks { return workpool.Marks() }

func (b ofPrefect3) runURL(ui string) func(id string) string {
	return prefect3.RunURL(b.settings.Address().Reveal(), ui)
}

// replaces is an idle worker (prefect3 §8).
func (ofPrefect3) replaces() scaler.Process {
	return scaler.Process{Name: "Prefect worker", Memory: 145_000_000}
}

func (b ofPrefect3) checks(a asked) []check.Check {
	name := func(setting string) string { return settingName(a.variable(setting)) }
	secret := ""
	switch {
	case b.settings.AuthString != "":
		secret = "auth string"
	case b.settings.APIKey() != "":
		secret = "API key"
	}
	return check.OfPrefect3(check.Prefect3Options{
		Address: strings.TrimRight(b.settings.Address().String(), "/"), Transport: b.Transport(),
		Client: b.Client, Pools: b.pools, Secret: secret,
		Scope: a.scope, Anywhere: a.anywhere, NoEvents: a.withoutEvents, Connection: a.connection,
		Settings: check.Prefect3Settings{
			API: name("API_URL"), Key: name("API_KEY"), AuthString: name("API_AUTH_STRING"),
			Pools: settingName("PREFECT_KEDA_WORK_POOLS"), CSRF: settingName("PREFECT_CLIENT_CSRF_SUPPORT_ENABLED"), Events: settingName("PREFECT_KEDA_EVENTS"),
		},
	})
}

func (b ofPrefect3) pools(ctx context.Context, names ...string) ([]check.Pool, error) {
	found, err := b.WorkPools(ctx, names...)
	var pools []check.Pool
	for _, p := range found {
		pools = append(pools, check.Pool{Name: p.Name, Type: p.Type, Paused: p.Paused, Limit: p.Limit})
	}
	return pools, err
}

// poolJobs are the Jobs of invented runs, one in each of the launcher's work pools.
func (b ofPrefect3) poolJobs(ctx context.Context, s config.Launcher) ([]check.PoolJob, error) {
	pools, err := b.WorkPools(ctx, s.Pools...)
	if err != nil {
		return nil, err
	}
	version, err := b.ServerVersion(ctx)
	if err != nil {
		return nil, err
	}
	run := workpool.Renderer{}.Neutral(false)
	var jobs []check.PoolJob
	for _, p := range pools {
		in := recipe.Inputs{FlowRun: named(run.ID, run.Name), Flow: named(run.ID, run.FlowName), WorkPool: p.Row, ServerVersion: version}
		made, err := workpool.Render(ctx, run, in, workPoolSettings(s), b.source)
		jobs = append(jobs, check.PoolJob{Pool: p.Name, Job: made.Job, Err: err})
	}
	return jobs, nil
}

// named is a row that says nothing else.
func named(id, name string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"id": %q, "name": %q}`, id, name))
}

// hintTimeout bounds the one question about work pools at start-up.
const hintTimeout = time.Minute

// hint says which of the launcher's work pools are not there. They may come later.
func (b ofPrefect3) hint(ctx context.Context, log *slog.Logger, scope prefect.Scope) {
	if len(scope.Pools) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, hintTimeout)
	defer cancel()
	found, err := b.WorkPools(ctx, scope.Pools...)
	if err != nil {
		log.DebugContext(ctx, "cannot look up the work pools", "err", err)
		return
	}
	for _, name := range scope.Pools {
		i := slices.IndexFunc(found, func(p prefect3.WorkPool) bool { return p.Name == name })
		switch {
		case i < 0:
			log.WarnContext(ctx, "there is no such work pool; correct PREFECT_KEDA_WORK_POOLS (--pool) or create it", "pool", name)
		case found[i].Type != "kubernetes":
			log.WarnContext(ctx, "a work pool is not of type kubernetes, so it is not served", "pool", name, "reason", "its type is "+found[i].Type)
		}
	}
}

// keeping is a renderer that remembers what it asked Prefect for.
func (b ofPrefect3) keeping(s config.Launcher, _ bool) keeper {
	k := &keptSource{Source: b.source, kept: recipe.Bundle{BlockDocuments: map[string]json.RawMessage{}, Variables: map[string]json.RawMessage{}}}
	return keptRenderer{workpool.Renderer{Settings: workPoolSettings(s), Source: k}, k}
}

type keptRenderer struct {
	workpool.Renderer
	source *keptSource
}

// bundle is all that the last run's Job was made of.
func (k keptRenderer) bundle() ([]byte, error) {
	if k.source.err != nil {
		return nil, k.source.err
	}
	return json.MarshalIndent(k.source.kept, "", "  ")
}

// secrets are the texts in secret blocks.
func (k keptRenderer) secrets() []string { return k.source.secrets }

// keptSource passes questions on and keeps the answers.
type keptSource struct {
	workpool.Source
	kept    recipe.Bundle
	secrets []string
	err     error
}

func (k *keptSource) keep(in map[string]json.RawMessage, name string, value any) {
	text, err := json.Marshal(value)
	in[name], k.err = text, errors.Join(k.err, err)
}

// Inputs keeps the objects that a run is made of.
func (k *keptSource) Inputs(ctx context.Context, run prefect.FlowRun) (recipe.Inputs, error) {
	in, err := k.Source.Inputs(ctx, run)
	k.kept.Inputs = in
	return in, err
}

// Block keeps a block document by its name.
func (k *keptSource) Block(ctx context.Context, slug, name string) (any, error) {
	data, err := k.Source.Block(ctx, slug, name)
	if err == nil {
		k.keep(k.kept.BlockDocuments, slug+"/"+name, data)
	}
	if slug == "secret" {
		k.secrets = append(k.secrets, textsIn(data)...)
	}
	return data, err
}

// BlockByID keeps a block document by its id.
func (k *keptSource) BlockByID(ctx context.Context, id string) (any, error) {
	data, err := k.Source.BlockByID(ctx, id)
	if err == nil {
		k.keep(k.kept.BlockDocuments, id, data)
	}
	return data, err
}

// Variable keeps a variable that is there.
func (k *keptSource) Variable(ctx context.Context, name string) (any, bool, error) {
	value, ok, err := k.Source.Variable(ctx, name)
	if err == nil && ok {
		k.keep(k.kept.Variables, name, value)
	}
	return value, ok, err
}

// textsIn are all texts in JSON.
func textsIn(data any) (texts []string) {
	switch v := data.(type) {
	case json.RawMessage:
		var decoded any
		if json.Unmarshal(v, &decoded) == nil {
			texts = textsIn(decoded)
		}
	case string:
		texts = append(texts, v)
	case []any:
		for _, item := range v {
			texts = append(texts, textsIn(item)...)
		}
	case map[string]any:
		for _, field := range v {
			texts = append(texts, textsIn(field)...)
		}
	}
	return texts
}

// isBundle reports whether a file is a saved run of Prefect 3.
func isBundle(file []byte) bool {
	var b recipe.Bundle
	return json.Unmarshal(file, &b) == nil && len(b.FlowRun) > 0 && len(b.WorkPool) > 0
}

// prefect3Of is a backend over a saved run. The run is read by the same code as the API's
// answer.
func prefect3Of(file []byte, o prefect3.Options, p config.Prefect) (b backend, id string, err error) {
	var saved recipe.Bundle
	if err := json.Unmarshal(file, &saved); err != nil {
		return nil, "", fmt.Errorf("is not a saved flow run in JSON: %w", err)
	}
	var run struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(saved.FlowRun, &run) != nil || run.ID == "" {
		return nil, "", errors.New("holds no flow run: give what render --save wrote, an object with flow_run, flow, deployment, work_pool, block_documents, variables and server_version")
	}
	o.HTTPTransport = savedRun(saved.FlowRun)
	client, err := prefect3.New(o)
	if err != nil {
		return nil, "", fmt.Errorf("set up the Prefect client: %w", err)
	}
	return ofPrefect3{client, p, workpool.FromBundle(saved)}, run.ID, nil
}

// savedRun is a Prefect API that knows one flow run and nothing of its past.
type savedRun json.RawMessage

// RoundTrip answers with the run, or with an empty list.
func (s savedRun) RoundTrip(r *http.Request) (*http.Response, error) {
	body := []byte("[]")
	if strings.Contains(r.URL.Path, "/flow_runs/") {
		body = s
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(body)), Request: r,
	}, nil
}

func apiOptions3(p config.Prefect, process string, log *slog.Logger, registry prometheus.Registerer, agent config.Agent) prefect3.Options {
	return prefect3.Options{
		API: p.Address().Reveal(), Key: p.APIKey().Reveal(), AuthString: p.AuthString.Reveal(), Headers: p.Headers.Reveal(),
		CAFile: p.CertFile, SkipVerify: bool(p.SkipVerify), NoCSRF: !bool(p.CSRF),
		WorkerName: agent.Name, RequestTimeout: p.RequestTimeout.Duration(), UserAgent: userAgent(process),
		Logger: log, Registerer: registry,
	}
}

func workPoolSettings(s config.Launcher) workpool.Settings {
	w := workpool.Settings{
		Namespace: s.Namespace, Namespaces: s.Namespaces(), WorkerName: s.Agent.Name, APIURL: s.Address().Reveal(),
		APIKey: s.APIKey().Reveal(), APIKeySecret: selector(s.KeyFrom()), AuthString: s.AuthString.Reveal(), AuthStringSecret: selector(s.AuthStringFrom()),
		DefaultImage: s.DefaultImage, TemplateEnv: map[string]string{}, TemplateSecrets: workpool.TemplateSecrets(s.TemplateSecrets), StoreEnvAsSecret: bool(s.EnvInto),
		DeleteFinishedJobs: bool(s.DeleteFinishedJobs), TTLSeconds: int32(s.JobTTL / time.Second), PodSecurity: string(s.PodSecurity),
	}
	for _, v := range s.TemplateValues {
		w.TemplateEnv[v.Name] = v.Value
	}
	for _, v := range s.PodEnv() {
		w.Env = append(w.Env, corev1.EnvVar{Name: v.Name, Value: v.Value})
	}
	return w
}
