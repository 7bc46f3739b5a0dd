package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/source"
	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/launcher"
	"github.com/prefect-keda/prefect-keda/ops"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/trouble"
)

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
			"a flag or a setting is wrong, a permission is missing, or the API refuses the key"),
	}
	addFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		settings, err := loadLauncher(c, env)
		if err != nil {
			return err
		}
		log := newLogger(io.err, settings.Process)
		adoptLibraries(log)
		announce(log, env, "launcher", settings)
		return runLauncher(c.Context(), log, settings)
	}
	return c
}

func runLauncher(ctx context.Context, log *slog.Logger, s config.Launcher) error {
	registry := newRegistry()
	backend, err := prefect1.New(apiOptions(s.Prefect, "launcher", log, registry, s.Agent))
	if err != nil {
		return misconfigured{fmt.Errorf("set up the Prefect client: %w", err)}
	}
	cfg, _, err := kubeConfig(log, s.Kubernetes, "launcher")
	if err != nil {
		return err
	}
	client, err := kube.NewClient(cfg)
	if err != nil {
		return misconfigured{err}
	}
	name, err := os.Hostname() // a pod's name
	if err != nil {
		return fmt.Errorf("find this launcher's name: %w", err)
	}
	l, err := launcher.New(launcherOptions(s, name, log, registry), backend, job.Renderer{Settings: jobSettings(s), Source: source.New(nil)}, launcher.Kubernetes{
		Jobs: client.Jobs(s.Namespace), Pods: client.Pods(s.Namespace), Events: client.Events(s.Namespace), Log: client.Logs(s.Namespace),
		UID: func(ctx context.Context) (string, error) { return client.NamespaceUID(ctx, s.Namespace) },
	})
	if err != nil {
		return misconfigured{err}
	}
	sites, err := launcherSites(ctx, s, registry, l)
	if err != nil {
		return err
	}
	if err := checkAccess(ctx, log, cfg, kube.LauncherPermissions(), []string{s.Namespace}); err != nil {
		return err
	}
	return serveBeside(ctx, l.Run, sites...)
}

// launcherSites is the operators' port, and the agent's address when there is
// one: an agent's environment often has it on the same port, and then both are
// one.
func launcherSites(ctx context.Context, s config.Launcher, registry *prometheus.Registry, l *launcher.Launcher) ([]site, error) {
	main := ops.Handler(registry, l.Live, l.Live)
	agent := main
	handlers := map[string]http.Handler{string(s.OpsListen): main}
	if s.AgentAddress != "" && s.AgentAddress.Port() != s.OpsListen.Port() {
		agent = http.NewServeMux()
		handlers[string(s.AgentAddress)] = agent
	}
	if s.AgentAddress != "" {
		ops.HandleAgent(agent, l.Live, l.Poke)
	}
	return listen(ctx, handlers)
}

func listen(ctx context.Context, handlers map[string]http.Handler) ([]site, error) {
	var sites []site
	for address, handler := range handlers {
		listener, err := ops.Listen(ctx, address)
		if err != nil {
			for _, s := range sites {
				s.listener.Close()
			}
			return nil, misconfigured{err}
		}
		sites = append(sites, site{listener, handler})
	}
	return sites, nil
}

func apiOptions(p config.Prefect, process string, log *slog.Logger, registry prometheus.Registerer, agent config.Agent) prefect1.Options {
	return prefect1.Options{
		API: p.Address(), Key: p.Key.Reveal(), TenantID: p.TenantID, Backend: prefect1.Backend(p.Backend),
		AgentName: agent.Name, AgentConfigID: agent.AgentConfigID,
		RequestTimeout: p.RequestTimeout.Duration(), UserAgent: userAgent(process),
		Logger: log, Registerer: registry,
	}
}

func launcherOptions(s config.Launcher, name string, log *slog.Logger, registry prometheus.Registerer) launcher.Options {
	return launcher.Options{
		Name: name, AgentName: s.Agent.Name, Namespace: s.Namespace, Labels: s.Labels,
		IdleTimeout: s.IdleTimeout, PollInterval: s.PollInterval, Lookahead: s.Lookahead,
		Rules: rules(s.Trouble), DeleteFinished: bool(s.DeleteFinishedJobs), KeepFailed: s.KeepFailedJobs, LogLines: s.LogLines,
		DrainTimeout: s.DrainTimeout, ClaimGrace: s.ClaimGrace, Concurrency: s.Concurrency, MaxPolls: s.MaxPolls,
		Logger: log, Registerer: registry,
	}
}

func rules(t config.Trouble) trouble.Rules {
	return trouble.Rules{Grace: t.PodGrace, PendingFor: t.PendingTimeout, PodRetries: t.PodRetries}
}

func jobSettings(s config.Launcher) job.Settings {
	j := job.Settings{
		Namespace: s.Namespace, ServiceAccountName: s.ServiceAccountName, ImagePullSecrets: s.ImagePullSecrets,
		Labels: s.Labels, LoggingLevel: s.LoggingLevel, SendFlowRunLogs: bool(s.SendFlowRunLogs),
		Backend: string(s.Backend), API: s.Address(), APIKey: s.Key.Reveal(), TenantID: s.TenantID,
		JobTemplate: s.JobTemplate, DeleteFinishedJobs: bool(s.DeleteFinishedJobs), TTLSeconds: int32(s.JobTTL / time.Second),
	}
	for _, v := range s.EnvVars {
		j.Env = append(j.Env, job.EnvVar{Name: v.Name, Value: v.Value})
	}
	// Without a key there is nothing for pods to read, and a Secret that is not
	// there would keep them from starting.
	if s.APIKeySecret.Name != "" && s.Key != "" {
		j.APIKeySecret = &job.SecretKey{Name: s.APIKeySecret.Name, Key: s.APIKeySecret.Key}
	}
	j.API = strings.TrimRight(j.API, "/")
	return j
}
