package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/source"
	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/launcher"
	"github.com/prefect-keda/prefect-keda/ops"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// agentConfigTimeout bounds the one question about the agent config.
const agentConfigTimeout = time.Minute

var (
	_ launcher.Backend  = (*prefect1.Client)(nil)
	_ launcher.Renderer = job.Renderer{}
)

func newLauncher(io streams, env environment) *cobra.Command {
	c := &cobra.Command{
		Use:   "launcher [flags]",
		Short: "Claim due flow runs, create their Jobs, and leave when nothing is due",
		Long: `The launcher claims due flow runs and creates their Kubernetes Jobs. It leaves by itself when nothing has been due for
the idle timeout. It takes every flag and variable of "prefect agent kubernetes start".

Every flag has an environment variable, named in brackets with its default; the flag wins.`,
		Example: `  prefect-keda launcher
  prefect-keda launcher --backend server --api http://localhost:4200 --namespace flows --label gpu --label prod
  prefect-keda launcher --env HTTP_PROXY=http://proxy:3128 --job-template https://example.com/job.yaml`,
		Args: noArgs,
		Annotations: exits(
			"nothing has been due for the idle timeout, --max-polls is reached, or SIGTERM came and what was in hand is finished",
			"something failed that may pass; start it again",
			"a flag, a setting or the Job template is wrong, a permission is missing, or the API refuses the key"),
	}
	addFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		settings, err := loadLauncher(c, env)
		if err != nil {
			return err
		}
		log := newLogger(io.err, settings.Process)
		adoptLibraries(log)
		announce(log, c, env, settings)
		hintAtCommas(log, c)
		return ended(c.Context(), log, runLauncher(c.Context(), log, settings))
	}
	return c
}

func runLauncher(ctx context.Context, log *slog.Logger, s config.Launcher) error {
	log.Info("the Prefect API to ask", "api", s.Address(), "setting", s.AddressSetting())
	registry := newRegistry()
	cfg, _, err := kubeConfig(log, s.Kubernetes, "launcher")
	if err != nil {
		return err
	}
	b, err := buildLauncher(s, cfg, log, registry)
	if err != nil {
		return misconfigured{err}
	}
	if err := checkTemplate(ctx, log, b.renderer); err != nil {
		return err
	}
	sites, err := launcherSites(ctx, log, s, registry, b.launcher)
	if err != nil {
		return err
	}
	if err := checkAccess(ctx, log, cfg, kube.LauncherPermissions(), []string{s.Namespace}); err != nil {
		return err
	}
	if err := tryJob(ctx, log, b.launcher); err != nil {
		return err
	}
	work := func(ctx context.Context) error {
		asking, stop := context.WithCancel(ctx)
		var others sync.WaitGroup
		defer others.Wait()
		defer stop()
		others.Go(func() { tellOfAgentConfig(asking, log, b.backend) })
		return b.launcher.Run(ctx)
	}
	return serveBeside(ctx, work, sites...)
}

// tellOfAgentConfig says if there is no such agent config. The agent crashed at
// start then; its settings change nothing, so it is no reason not to launch.
func tellOfAgentConfig(ctx context.Context, log *slog.Logger, backend *prefect1.Client) {
	ctx, cancel := context.WithTimeout(ctx, agentConfigTimeout)
	defer cancel()
	if err := backend.AgentConfig(ctx); errors.Is(err, prefect.ErrNotFound) {
		log.WarnContext(ctx, "there is no such agent config; correct PREFECT_KEDA_AGENT_CONFIG_ID or set it to nothing", "err", err)
	} else if err != nil {
		log.DebugContext(ctx, "cannot look up the agent config", "err", err)
	}
}

// checkTemplate fails when the launcher's own template can never work. One that
// cannot be read at the moment is no reason not to start: runs may bring theirs.
func checkTemplate(ctx context.Context, log *slog.Logger, renderer job.Renderer) error {
	err := renderer.CheckTemplate(ctx)
	if wrong, ok := errors.AsType[*job.TemplateError](err); ok && wrong.Passing {
		log.Warn("cannot read the job template yet; going on without", "err", err)
		return nil
	}
	if err != nil {
		return misconfigured{err}
	}
	return nil
}

// tryJob fails when Kubernetes will never take a Job that the launcher's settings
// make. What a policy wants may change while we run, and the launcher says so itself
// as soon as a run waits for it.
func tryJob(ctx context.Context, log *slog.Logger, l *launcher.Launcher) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := l.Trial(ctx)
	refused, ok := errors.AsType[*launcher.RefusedError](err)
	_, told := errors.AsType[*job.TemplateError](err) // by checkTemplate
	switch {
	case ok && refused.Lasting():
		return misconfigured{err}
	case err != nil && !ok && !told:
		log.Warn("cannot try a Job in Kubernetes; going on without", "err", err)
	}
	return nil
}

// built is a launcher with those of its parts that are asked before it runs.
type built struct {
	launcher *launcher.Launcher
	backend  *prefect1.Client
	renderer job.Renderer
}

// buildLauncher makes no request.
func buildLauncher(s config.Launcher, cfg *rest.Config, log *slog.Logger, registry prometheus.Registerer) (built, error) {
	backend, err := prefect1.New(apiOptions(s.Prefect, "launcher", log, registry, s.Agent))
	if err != nil {
		return built{}, fmt.Errorf("set up the Prefect client: %w", err)
	}
	client, err := kube.NewClient(cfg)
	if err != nil {
		return built{}, err
	}
	name, err := os.Hostname() // a pod's name
	if err != nil {
		return built{}, fmt.Errorf("find this launcher's name: %w", err)
	}
	renderer := job.Renderer{Settings: jobSettings(s), Source: source.New(nil), Tenant: backend.TenantID}
	l, err := launcher.New(launcherOptions(s, name, log, registry), backend, renderer, launcher.Kubernetes{
		Jobs: client.Jobs(s.Namespace), Pods: client.Pods(s.Namespace), Events: client.Events(s.Namespace), Log: client.Logs(s.Namespace),
		UID: func(ctx context.Context) (string, error) { return client.NamespaceUID(ctx, s.Namespace) },
		MayUse: func(ctx context.Context, account string) (bool, error) {
			return kube.MayUse(ctx, client.Reviews(), s.Namespace, account)
		},
	})
	return built{l, backend, renderer}, err
}

// launcherSites is the operators' port, and the agent's address when there is
// one: an agent's environment often has it on the same port, and then both are
// one.
func launcherSites(ctx context.Context, log *slog.Logger, s config.Launcher, registry *prometheus.Registry, l *launcher.Launcher) ([]site, error) {
	main := ops.Handler(registry, l.Live, l.Live)
	places := []place{{opsVariable, s.OpsListen, main}}
	if s.AgentAddress != "" {
		agent := main
		if !s.OpsListen.Covers(s.AgentAddress) {
			agent = http.NewServeMux()
			places = append(places, place{"PREFECT__CLOUD__AGENT__AGENT_ADDRESS", s.AgentAddress, agent})
		}
		ops.HandleAgent(agent, l.Live, l.Poke)
	}
	return listen(ctx, log, places...)
}

func apiOptions(p config.Prefect, process string, log *slog.Logger, registry prometheus.Registerer, agent config.Agent) prefect1.Options {
	return prefect1.Options{
		API: p.Address(), Key: p.APIKey().Reveal(), TenantID: p.TenantID, Backend: prefect1.Backend(p.Backend),
		AgentName: agent.Name, AgentConfigID: agent.AgentConfigID,
		RequestTimeout: p.RequestTimeout.Duration(), UserAgent: userAgent(process),
		Logger: log, Registerer: registry,
	}
}

func launcherOptions(s config.Launcher, name string, log *slog.Logger, registry prometheus.Registerer) launcher.Options {
	return launcher.Options{
		Name: name, AgentName: s.Agent.Name, Namespace: s.Namespace, ServiceAccountName: s.ServiceAccountName, Labels: s.Labels,
		IdleTimeout: s.IdleTimeout, PollInterval: s.PollInterval, Lookahead: s.Lookahead,
		Rules: rules(s.Trouble), DeleteFinished: bool(s.DeleteFinishedJobs), JobTTL: s.JobTTL, KeepFailed: s.KeepFailedJobs, LogLines: s.LogLines,
		DrainTimeout: s.DrainTimeout, ClaimGrace: s.ClaimGrace, Concurrency: s.Concurrency, MaxPolls: s.MaxPolls,
		Logger: log, Registerer: registry,
	}
}

func rules(t config.Trouble) trouble.Rules {
	return trouble.Rules{
		Grace: t.PodGrace, PendingFor: t.PendingTimeout, CancelGrace: t.CancelGrace, FinishedGrace: t.FinishedGrace, PodRetries: t.PodRetries,
	}
}

func jobSettings(s config.Launcher) job.Settings {
	j := job.Settings{
		Namespace: s.Namespace, ServiceAccountName: s.ServiceAccountName, ImagePullSecrets: s.ImagePullSecrets,
		Labels: s.Labels, LoggingLevel: s.LoggingLevel, SendFlowRunLogs: bool(s.SendFlowRunLogs),
		Backend: string(s.Backend), API: s.Address(), APIKey: s.APIKey().Reveal(), TenantID: s.TenantID,
		JobTemplate: s.JobTemplate, DeleteFinishedJobs: bool(s.DeleteFinishedJobs), TTLSeconds: int32(s.JobTTL / time.Second),
		PodSecurity: string(s.PodSecurity),
	}
	for _, v := range s.EnvVars {
		j.Env = append(j.Env, job.EnvVar{Name: v.Name, Value: v.Value})
	}
	// Only a key that came from the Secret is there for pods to read: one given as
	// text is passed on as text, because a Secret that is not there would keep them
	// from starting.
	if s.APIKeySecret.Name != "" && s.SecretKey != "" {
		j.APIKeySecret = &job.SecretKey{Name: s.APIKeySecret.Name, Key: s.APIKeySecret.Key}
	}
	return j
}
