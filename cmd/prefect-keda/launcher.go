package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/admission"
	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/launcher"
	"github.com/prefect-keda/prefect-keda/ops"
	"github.com/prefect-keda/prefect-keda/trouble"
)

func newLauncher(io streams, env environment) *cobra.Command {
	c := &cobra.Command{
		Use:   "launcher [flags]",
		Short: "Claim due flow runs, create their Jobs, and leave when nothing is due",
		Long: `The launcher claims due flow runs and creates their Kubernetes Jobs. It leaves by itself when nothing has been due for
the idle timeout, or never if that is 0. It takes the flags and variables of "prefect worker start" for work pools of
Prefect 3, and those of "prefect agent kubernetes start" for Prefect 1. PREFECT_API_URL says that it is Prefect 3, and
PREFECT__BACKEND that it is Prefect 1.

Every flag has an environment variable, named in brackets with its default, that of Prefect 3 first; the flag wins.`,
		Example: `  prefect-keda launcher
  prefect-keda launcher --api http://localhost:4200/api --pool etl --work-queue high --namespace flows
  prefect-keda launcher --backend server --api http://localhost:4200 --namespace flows --label gpu --label prod
  prefect-keda launcher --env HTTP_PROXY=http://proxy:3128 --job-template https://example.com/job.yaml`,
		Args: noArgs,
		Annotations: exits(
			"nothing has been due for the idle timeout, --max-polls is reached, or SIGTERM came and its runs are finished",
			"something failed that may pass; start it again",
			"a flag, a setting or the Job template is wrong, the API refuses the key, or a permission is missing and did not\n     come within the idle timeout"),
	}
	addFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		settings, err := loadLauncher(c, env)
		if err != nil {
			return err
		}
		log := io.logger(settings.Process)
		announce(log, c, env, settings)
		heedLimit(env, os.DirFS("/"))
		hintAtCommas(log, c)
		hintAtWorkersFlags(log, c)
		return ended(c.Context(), log, runLauncher(c.Context(), log, settings))
	}
	return c
}

// workersFlags are those of `prefect worker start` that a launcher takes and does not need.
func workersFlags() config.Group {
	fs := pflag.NewFlagSet("worker", pflag.ContinueOnError)
	fs.StringP("type", "t", "", "without effect: launchers serve work pools of type kubernetes")
	fs.Bool("with-healthcheck", false, "without effect: --ops-listen always serves /livez and /readyz")
	fs.String("install-policy", "", "without effect: there is nothing to install")
	fs.String("base-job-template", "", "without effect: launchers do not write work pools. Use prefect work-pool update")
	fs.Bool("create-pool-if-not-found", false, "without effect: launchers do not write work pools. Use prefect work-pool create")
	fs.Bool("no-create-pool-if-not-found", false, "without effect: launchers do not write work pools")
	return config.Group{Title: "As prefect worker start has them", Flags: fs}
}

func hintAtWorkersFlags(log *slog.Logger, c *cobra.Command) {
	workersFlags().Flags.VisitAll(func(f *pflag.Flag) {
		if given := c.Flags().Lookup(f.Name); given != nil && given.Changed {
			log.Info("this flag of a Prefect worker has no effect here and can be removed", "flag", "--"+f.Name, "reason", strings.TrimPrefix(f.Usage, "without effect: "))
		}
	})
}

func runLauncher(ctx context.Context, log *slog.Logger, s config.Launcher) error {
	log.Info("using the Prefect API", "api", s.Address().String(), "setting", s.AddressSetting())
	client, notices, err := onKubernetes(log, s.Kubernetes, "launcher")
	if err != nil {
		return err
	}
	registry, operator := newRegistry(), onOwnPod(notices)
	b, err := buildLauncher(s, client, operator, log, registry)
	if err != nil {
		return misconfigured{err}
	}
	if err := checkTemplate(ctx, log, b.renderer); err != nil {
		return err
	}
	a := &access{log: log, reviews: client.Reviews(), permissions: kube.LauncherPermissions(), namespaces: []string{s.Namespace}, operator: operator}
	sites, err := launcherSites(ctx, log, s, registry, b.launcher, a)
	if err != nil {
		return err
	}
	work := func(ctx context.Context) error {
		if err := a.await(ctx, s.IdleTimeout); err != nil || ctx.Err() != nil {
			return err
		}
		if err := tryJob(ctx, log, b.launcher); err != nil {
			return err
		}
		hint := func(ctx context.Context) { b.backend.hint(ctx, log, scopeOf(s)) }
		return beside(ctx, hint, func() error { return b.launcher.Run(ctx) })
	}
	return serveBeside(ctx, notices, work, sites...)
}

// checkTemplate fails if the launcher's own template can never work. If it cannot be read at
// the moment, the launcher starts all the same: runs may bring their own.
func checkTemplate(ctx context.Context, log *slog.Logger, renderer renderer) error {
	err := renderer.CheckTemplate(ctx)
	if wrong, ok := errors.AsType[*job.TemplateError](err); ok && wrong.Passing {
		log.Warn("cannot read the Job template yet; going on without it", "err", err)
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
	refused, ok := errors.AsType[*admission.RefusedError](err)
	_, told := errors.AsType[*job.TemplateError](err) // by checkTemplate
	switch {
	case ok && refused.Lasting():
		return misconfigured{err}
	case err != nil && !ok && !told:
		log.Warn("cannot try a Job in Kubernetes; going on without the trial", "err", err)
	}
	return nil
}

// built is a launcher with those of its parts that are asked before it runs.
type built struct {
	launcher *launcher.Launcher
	backend  backend
	renderer renderer
}

// buildLauncher makes no request.
func buildLauncher(s config.Launcher, client *kube.Client, operator func(reason, message string), log *slog.Logger, registry prometheus.Registerer) (built, error) {
	backend, err := newBackend(s.Prefect, s.Agent, "launcher", log, registry)
	if err != nil {
		return built{}, err
	}
	name, err := os.Hostname() // a pod's name
	if err != nil {
		return built{}, fmt.Errorf("find this launcher's name: %w", err)
	}
	renderer := backend.renderer(s, true)
	options := launcherOptions(s, name, log, registry)
	options.Operator, options.Marks = operator, backend.marks()
	l, err := launcher.New(options, backend, renderer, func(namespace string) jobs.Client { return jobsIn(client, namespace) })
	return built{l, backend, renderer}, err
}

// jobsIn is the launcher's view of one namespace.
func jobsIn(client *kube.Client, namespace string) jobs.Client {
	return jobs.Client{
		Jobs: client.Jobs(namespace), Pods: client.Pods(namespace), Events: client.Events(namespace), Log: client.Logs(namespace), Secrets: client.Secrets(namespace),
		UID: func(ctx context.Context) (string, error) { return client.NamespaceUID(ctx, namespace) },
		MayUse: func(ctx context.Context, account string) (bool, error) {
			return kube.MayUse(ctx, client.Reviews(), namespace, account)
		},
	}
}

// launcherSites is the operators' port, and the agent's address when there is
// one: an agent's environment often has it on the same port, and then both are
// one.
func launcherSites(ctx context.Context, log *slog.Logger, s config.Launcher, registry *prometheus.Registry, l *launcher.Launcher, a *access) ([]site, error) {
	main := ops.Handler(registry, l.Live, func() error { return errors.Join(l.Live(), a.err()) })
	listeners := []listener{{opsVariable, s.OpsListen, main}}
	if s.AgentAddress != "" {
		agent := main
		if !s.OpsListen.Covers(s.AgentAddress) {
			agent = http.NewServeMux()
			listeners = append(listeners, listener{"PREFECT__CLOUD__AGENT__AGENT_ADDRESS", s.AgentAddress, agent})
		}
		ops.HandleAgent(agent, l.Live, l.Poke)
	}
	return listen(ctx, log, listeners...)
}

func launcherOptions(s config.Launcher, name string, log *slog.Logger, registry prometheus.Registerer) launcher.Options {
	return launcher.Options{
		Name: name, AgentName: s.Agent.Name, Namespace: s.Namespace, JobNamespaces: s.Namespaces()[1:], ServiceAccountName: s.ServiceAccountName, Scope: scopeOf(s),
		Credentials: credentials(s.Prefect, s.APIKeySecret, home(s.Kubernetes, kube.PodNamespace()), ofDefault(s.Kind)),
		IdleTimeout: s.IdleTimeout, Stays: s.IdleTimeout == 0, PollInterval: s.PollInterval, Lookahead: s.Lookahead,
		Rules: rules(s.Trouble, s.Kind), DeleteFinished: bool(s.DeleteFinishedJobs), JobTTL: s.JobTTL, KeepFailed: s.KeepFailedJobs, LogLines: s.LogLines,
		DrainTimeout: s.DrainTimeout, ClaimGrace: s.ClaimGrace, Concurrency: s.Concurrency, MaxPolls: s.MaxPolls,
		Logger: log, Registerer: registry,
	}
}

func rules(t config.Trouble, of config.Kind) trouble.Rules {
	return trouble.Rules{
		Grace: t.PodGrace, PendingFor: t.PendingTimeout, CancelGrace: t.CancelGrace, FinishedGrace: t.FinishedGrace, PodRetries: t.PodRetries,
		OwnJobs: of == config.Prefect3,
	}
}

// keySecret is the Secret from which pods read the API key; nil if they get it as text.
func keySecret(s config.Launcher) *corev1.SecretKeySelector { return selector(s.KeyFrom()) }

func selector(k config.SecretKey) *corev1.SecretKeySelector {
	if k.Name == "" {
		return nil
	}
	return &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: k.Name}, Key: k.Key}
}
