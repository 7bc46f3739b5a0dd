package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/ops"
)

// checkTimeout bounds asking Kubernetes for our permissions at start-up.
const checkTimeout = 15 * time.Second

// flagGroups are the headings of a command's flags.
func flagGroups(c *cobra.Command) []config.Group {
	switch c.Name() {
	case "prefect-keda":
		return []config.Group{rootFlags()}
	case "scaler":
		return config.Flags(config.Scaler{})
	case "launcher":
		return config.Flags(config.Launcher{})
	case "install":
		return installFlags()
	case "render":
		return append([]config.Group{renderFlags()}, showing(config.Flags(config.Launcher{}), config.Prefect{}, config.Jobs{})...)
	case "check":
		groups := append(config.Flags(config.Launcher{}), without(config.Flags(config.Scaler{}), config.Launcher{})...)
		return append([]config.Group{checkFlags()}, showing(groups, config.Prefect{}, config.Jobs{}, config.Kubernetes{})...)
	}
	return nil
}

// showing hides the flags that a command takes, so that a launcher's command line
// may be pasted behind it, and does not use. Shown are those of some groups of
// settings and the few others.
func showing(groups []config.Group, used ...any) []config.Group {
	shown := []string{"label", "connections", "log-level", "log-format"}
	for _, of := range used {
		for _, s := range config.Settings(of) {
			shown = append(shown, s.Flag)
		}
	}
	for _, g := range groups {
		g.Flags.VisitAll(func(f *pflag.Flag) { f.Hidden = !slices.Contains(shown, f.Name) })
	}
	return groups
}

// without are the groups without the flags that another process has too.
func without(groups []config.Group, other any) []config.Group {
	var rest []config.Group
	for _, g := range groups {
		own := pflag.NewFlagSet(g.Title, pflag.ContinueOnError)
		g.Flags.VisitAll(func(f *pflag.Flag) {
			if !slices.ContainsFunc(config.Settings(other), func(s config.Setting) bool { return s.Flag == f.Name }) {
				own.AddFlag(f)
			}
		})
		rest = append(rest, config.Group{Title: g.Title, Flags: own})
	}
	return rest
}

func addFlags(c *cobra.Command) {
	for _, g := range flagGroups(c) {
		c.Flags().AddFlagSet(g.Flags)
	}
	for flag, values := range map[string][]string{
		"backend": {"cloud", "server"}, "log-format": {"auto", "json", "text"},
		"pod-security": {"privileged", "baseline", "restricted"}, "log-level": {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}, "flow-log-level": {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"},
	} {
		completeFlag(c, flag, values...)
	}
	if f := c.Flags().Lookup("output"); f != nil {
		completeFlag(c, f.Name, f.DefValue, "json")
	}
}

func completeFlag(c *cobra.Command, flag string, values ...string) {
	if c.Flags().Lookup(flag) != nil {
		_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // fails for unknown flags only
	}
}

// lookup is where a command's settings come from: its flags, then the variables,
// then Prefect's own files.
func lookup(c *cobra.Command, env environment, of any) (envconfig.Lookuper, error) {
	return config.WithFiles(c.Context(), config.Override(env, of, c.Flags()))
}

func loadLauncher(c *cobra.Command, env environment) (config.Launcher, error) {
	given, problems := lookup(c, env, config.Launcher{})
	settings, err := config.LoadLauncher(c.Context(), given)
	return settings, wrongSettings(problems, err)
}

func loadScaler(c *cobra.Command, env environment) (config.Scaler, error) {
	given, problems := lookup(c, env, config.Scaler{})
	settings, err := config.LoadScaler(c.Context(), given)
	return settings, wrongSettings(problems, err)
}

const (
	apiVariable = "PREFECT__CLOUD__API"
	keyVariable = "PREFECT__CLOUD__API_KEY"

	secretKeyVariable = "PREFECT_KEDA_API_KEY" //nolint:gosec // a name
)

// settingName is a variable with its flag.
func settingName(variable string) string {
	for _, s := range allSettings() {
		if s.Variable == variable {
			return s.Name()
		}
	}
	return variable
}

// wrongSettings is nil when there is nothing wrong.
func wrongSettings(problems ...error) error {
	if err := errors.Join(problems...); err != nil {
		return misconfigured{fmt.Errorf("settings:\n%w", err)}
	}
	return nil
}

// announce says once what runs here and which variables say nothing to it.
func announce(log *slog.Logger, c *cobra.Command, env environment, settings slog.LogValuer) {
	process := c.Name()
	log.Info("starting "+process, "version", currentVersion()) //nolint:sloglint // two processes, two constants
	log.Debug("effective settings", "settings", settings)
	if ignored := config.Ignored(env); len(ignored) > 0 {
		log.Info("these variables of the Prefect agent have no effect here and can be removed", "variables", strings.Join(ignored, ", "))
	}
	if unknown := config.Unknown(config.Override(env, config.Scaler{}, c.Flags()), env.names); len(unknown) > 0 {
		log.Warn("these variables begin like ours and are not known; are they misspelt?", "variables", strings.Join(unknown, ", "))
	}
}

// hintAtCommas: to the agent, and so to us, --label a,b is one label, while in the
// variable it is two.
func hintAtCommas(log *slog.Logger, c *cobra.Command) {
	given, _ := c.Flags().GetStringArray("label")
	for _, label := range given {
		if strings.Contains(label, ",") && !strings.HasPrefix(label, "[") {
			log.Warn("this --label is one label with a comma in it; for several labels give the flag several times", "label", label)
		}
	}
}

func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "prefect_keda_build_info", Help: "1, with the version.", ConstLabels: prometheus.Labels{"version": currentVersion()},
	})
	build.Set(1)
	registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// kubeConfig is how to reach Kubernetes, and in words where that came from.
func kubeConfig(log *slog.Logger, k config.Kubernetes, process string) (cfg *rest.Config, source string, err error) {
	cfg, source, err = kube.Config(kubeOptions(k, process))
	if err != nil {
		if k.Kubeconfig != "" || k.KubeContext != "" {
			err = fmt.Errorf("%s, %s: %w", settingName("KUBECONFIG"), settingName("PREFECT_KEDA_KUBE_CONTEXT"), err)
		}
		return nil, "", misconfigured{err}
	}
	log.Debug("reaching Kubernetes", "reason", "by "+source)
	return cfg, source, nil
}

func kubeOptions(k config.Kubernetes, process string) kube.Options {
	return kube.Options{
		Kubeconfig: k.Kubeconfig, Context: k.KubeContext, QPS: k.KubeQPS, Burst: k.KubeBurst,
		UserAgent: userAgent(process), KeepAlive: bool(k.KeepAlive),
	}
}

// checkAccess fails when permissions are missing. An API server that is away is
// no reason not to start.
func checkAccess(ctx context.Context, log *slog.Logger, cfg *rest.Config, permissions []kube.Permission, namespaces []string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	client, err := kube.NewClient(cfg)
	if err != nil {
		return misconfigured{fmt.Errorf("set up the Kubernetes client: %w", err)}
	}
	err = kube.Check(ctx, client.Reviews(), permissions, namespaces...)
	if _, missing := errors.AsType[*kube.MissingError](err); missing {
		return err
	}
	if err != nil {
		log.Warn("cannot check our permissions; going on without", "err", err)
	}
	return nil
}

const opsVariable = "PREFECT_KEDA_OPS_LISTEN"

// place is where to serve what, and the setting that says so.
type place struct {
	variable string
	address  config.Address
	handler  http.Handler
}

// listen opens all places or none.
func listen(ctx context.Context, log *slog.Logger, places ...place) ([]site, error) {
	var sites []site
	for _, p := range places {
		listener, err := ops.Listen(ctx, string(p.address))
		if err != nil {
			for _, s := range sites {
				s.listener.Close()
			}
			return nil, notListening(err, p.variable)
		}
		log.Info("serving pages", "address", listener.Addr().String(), "setting", p.variable)
		sites = append(sites, site{listener, p.handler})
	}
	return sites, nil
}

// notListening is err, and if that is about an address, with the setting that has
// to change.
func notListening(err error, variable string) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "listen" {
		return misconfigured{config.Problem{Setting: settingName(variable), Text: fmt.Sprintf("cannot listen there: %v: give another address, or stop who has it", op.Err)}}
	}
	return err
}

// ended has what ends a process be its log's last line, in the log's own form.
func ended(ctx context.Context, log *slog.Logger, err error) error {
	if err == nil || !log.Enabled(ctx, slog.LevelError) {
		return err
	}
	log.ErrorContext(ctx, "ended by an error", "err", err, "exit_code", exitCode(err))
	return reported{err}
}

// site is a handler and where it is served.
type site struct {
	listener net.Listener
	handler  http.Handler
}

// serveBeside runs work with the sites up from before its beginning until after
// its end, so that a drain can be watched. A site that fails ends the work.
func serveBeside(ctx context.Context, work func(context.Context) error, sites ...site) error {
	group, ctx := errgroup.WithContext(ctx)
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	for _, s := range sites {
		group.Go(func() error { return ops.Serve(serving, s.listener, s.handler) })
	}
	group.Go(func() error {
		defer stop()
		return work(ctx)
	})
	return group.Wait()
}
