package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
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
	"github.com/prefect-keda/prefect-keda/notice"
	"github.com/prefect-keda/prefect-keda/ops"
)

func flagGroups(c *cobra.Command) []config.Group {
	switch c.Name() {
	case "prefect-keda":
		return []config.Group{rootFlags()}
	case "scaler":
		return config.Flags(config.Scaler{})
	case "launcher":
		return append(config.Flags(config.Launcher{}), workersFlags())
	case "install":
		return installFlags()
	case "render":
		return append([]config.Group{renderFlags()}, showing(config.Flags(config.Launcher{}), config.Prefect{}, config.Jobs{})...)
	case "check":
		groups := append(config.Flags(config.Launcher{}), without(config.Flags(config.Scaler{}), config.Launcher{})...)
		return append([]config.Group{checkFlags()}, showing(groups, config.Prefect{}, config.Jobs{}, config.Kubernetes{})...)
	case "explain":
		groups := append(config.Flags(config.Launcher{}), without(config.Flags(config.Scaler{}), config.Launcher{})...)
		return append([]config.Group{explainFlags()}, showing(groups, config.Prefect{}, config.Kubernetes{}, config.Trouble{})...)
	}
	return nil
}

// showing hides the flags that a command takes, so that a launcher's command line
// may be pasted behind it, and does not use. Shown are those of some groups of
// settings and the few others.
func showing(groups []config.Group, used ...any) []config.Group {
	shown := []string{"label", "pool", "work-queue", "connections", "log-level", "log-format"}
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
	others := config.Settings(other)
	for _, g := range groups {
		own := pflag.NewFlagSet(g.Title, pflag.ContinueOnError)
		g.Flags.VisitAll(func(f *pflag.Flag) {
			if !slices.ContainsFunc(others, func(s config.Setting) bool { return s.Flag == f.Name }) {
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
		"prefect": {"prefect1", "prefect3"}, "backend": {"cloud", "server"}, "template-secrets": {"secret", "inline", "refuse"}, "log-format": {"auto", "json", "text"},
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

// answering says how a command prints what it has asked for, and how long it waits for each
// answer.
type answering struct {
	format  string
	timeout time.Duration
}

func addAnswering(fs *pflag.FlagSet, each string) {
	fs.StringP("output", "o", "text", "text, or json")
	fs.Duration("timeout", 10*time.Second, "time for each "+each)
}

func answeringOf(c *cobra.Command) (a answering, err error) {
	a.timeout, _ = c.Flags().GetDuration("timeout")
	if a.format, err = outputOf(c); err == nil && a.timeout <= 0 {
		err = misconfigured{fmt.Errorf("--timeout: is %s: give some seconds", a.timeout)}
	}
	return a, err
}

// outputOf reads --output: the command's own form, which is the default, or json.
func outputOf(c *cobra.Command) (string, error) {
	f := c.Flags().Lookup("output")
	format := f.Value.String()
	if format != f.DefValue && format != "json" {
		return "", misconfigured{fmt.Errorf("--output: %q is not a format: give %s or json", format, f.DefValue)}
	}
	return format, nil
}

func writeJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// lookup is where a command's settings come from: its flags, then the variables,
// then Prefect's own files.
func lookup(c *cobra.Command, env environment, of any) (envconfig.Lookuper, error) {
	return config.WithFiles(c.Context(), config.Override(env, of, c.Flags()))
}

func loadLauncher(c *cobra.Command, env environment) (config.Launcher, error) {
	given, problems := lookup(c, env, config.Launcher{})
	settings, err := config.LoadLauncher(c.Context(), given)
	if settings.Kind == config.Prefect3 {
		settings.PassedOn = config.PassedOn(env, env.names)
	}
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

func settingName(variable string) string {
	return config.NameOf(variable, config.Launcher{}, config.Scaler{})
}

func wrongSettings(problems ...error) error {
	if err := errors.Join(problems...); err != nil {
		return misconfigured{fmt.Errorf("settings:\n%w", err)}
	}
	return nil
}

// announce logs once what starts and which variables have no effect.
func announce(log *slog.Logger, c *cobra.Command, env environment, settings slog.LogValuer) {
	process := c.Name()
	log.Info("starting "+process, "version", currentVersion()) //nolint:sloglint // two processes, two constants
	log.Debug("effective settings", "settings", settings)
	for _, n := range config.Notices(env) {
		log.Info("this variable of a Prefect worker has no effect here and can be removed", "variable", n.Variable, "reason", n.Why)
	}
	if ignored := config.Ignored(env); len(ignored) > 0 {
		log.Info("these variables of the Prefect agent have no effect here and can be removed", "variables", strings.Join(ignored, ", "))
	}
	if unknown := config.Unknown(config.Override(env, config.Scaler{}, c.Flags()), env.names); len(unknown) > 0 {
		log.Warn("these variables begin like ours but are unknown; are they misspelt?", "variables", strings.Join(unknown, ", "))
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

// onKubernetes connects the scaler or the launcher, and has it tell operators by Events. It
// makes no request.
func onKubernetes(log *slog.Logger, k config.Kubernetes, process string) (*kube.Client, *notice.Notices, error) {
	if err := misplaced(k, kube.PodNamespace()); err != nil {
		return nil, nil, err
	}
	client, err := kubeClient(log, k, process)
	if err != nil {
		return nil, nil, err
	}
	return client, newNotices(log, client, process), nil
}

// kubeClient is nil, with the reason, if the settings reach no Kubernetes.
func kubeClient(log *slog.Logger, k config.Kubernetes, process string) (*kube.Client, error) {
	cfg, _, err := kubeConfig(log, k, process)
	if err != nil {
		return nil, err
	}
	client, err := kube.NewClient(cfg)
	if err != nil {
		return nil, misconfigured{err}
	}
	return client, nil
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

const opsVariable = "PREFECT_KEDA_OPS_LISTEN"

type listener struct {
	variable string
	address  config.Address
	handler  http.Handler
}

// listen opens all listeners or none.
func listen(ctx context.Context, log *slog.Logger, listeners ...listener) ([]site, error) {
	var sites []site
	for _, p := range listeners {
		open, err := ops.Listen(ctx, string(p.address))
		if err != nil {
			for _, s := range sites {
				s.listener.Close()
			}
			return nil, notListening(err, p.variable)
		}
		log.Info("serving pages", "address", open.Addr().String(), "setting", p.variable)
		sites = append(sites, site{open, p.handler})
	}
	return sites, nil
}

// notListening is err, and if that is about an address, with the setting that has
// to change.
func notListening(err error, variable string) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "listen" {
		return misconfigured{config.Problem{Setting: settingName(variable), Text: fmt.Sprintf("cannot listen there: %v: give another address, or stop the program that uses it", op.Err)}}
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

type site struct {
	listener net.Listener
	handler  http.Handler
}

// beside does work while other runs. When the work has ended, other's context ends too, and
// beside waits for it.
func beside(ctx context.Context, other func(context.Context), work func() error) error {
	ctx, stop := context.WithCancel(ctx)
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	others.Go(func() { other(ctx) })
	return work()
}

// serveBeside runs work with the sites up from before its beginning until after
// its end, so that a drain can be watched. A site that fails ends the work.
func serveBeside(ctx context.Context, n *notice.Notices, work func(context.Context) error, sites ...site) error {
	group, ctx := errgroup.WithContext(ctx)
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	for _, s := range sites {
		group.Go(func() error { return ops.Serve(serving, s.listener, s.handler) })
	}
	group.Go(func() error {
		defer stop()
		return beside(context.WithoutCancel(ctx), n.Run, func() error { return work(ctx) })
	})
	return group.Wait()
}
