package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/check"
	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/install"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/source"
	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
)

func newCheck(io streams, env environment) *cobra.Command {
	c := &cobra.Command{
		Use:   "check [flags]",
		Short: "Test what a launcher needs, and say what to do about what is missing",
		Long: `Check asks Prefect and Kubernetes, one question after the other, whether a launcher with these flags and this
environment would work: the API, the key and the tenant, permissions, KEDA, the Job template and what it names. One line
each tells what was found, and for a failure what to do next. What depends on a failure is skipped.

It changes nothing: the one Job it sends is a dry run. What its user may not look at is skipped and said so; for the
launcher's permissions as seen from somebody else's terminal give --as. In the cluster, where the scaler always is:
  kubectl -n prefect-keda exec deploy/prefect-keda-scaler -- /usr/local/bin/app check --scaler
docs/troubleshooting.md has the command that does it in a pod like the launcher's.

It takes every flag and variable of the launcher, with --scaler of the scaler; shown below are those that matter here.
The variable is in brackets, with its default; the flag wins.`,
		Example: `  prefect-keda check
  prefect-keda check --backend server --api http://localhost:4200 --namespace flows --label gpu
  prefect-keda check --namespace flows --as system:serviceaccount:prefect-keda:prefect-keda-launcher
  prefect-keda check -o json --timeout 5s > check.json`,
		Args: noArgs,
		Annotations: exits(
			"nothing failed",
			"something failed, and is named with what to do",
			"a flag or a setting is wrong; nothing was asked"),
	}
	addFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		o, err := checkFlagsOf(c)
		if err != nil {
			return err
		}
		of := launcherChecks
		if o.scaler {
			of = scalerChecks
		}
		checks, secrets, err := of(c, env, o, io.err)
		if err != nil {
			return err
		}
		return runChecks(c.Context(), o, checks, hiding(secrets), io.out)
	}
	return c
}

func checkFlags() config.Group {
	fs := pflag.NewFlagSet("check", pflag.ContinueOnError)
	fs.StringP("output", "o", "text", "text, or json")
	fs.Duration("timeout", 10*time.Second, "time for each check")
	fs.String("as", "", "act as this user where the launcher acts (permissions, the trial Job), for example\nsystem:serviceaccount:prefect-keda:prefect-keda-launcher; takes the permission to impersonate")
	fs.Bool("scaler", false, "test what the scaler needs, with its settings: all namespaces (--namespace a,b) and connections")
	fs.String("launcher-namespace", install.Namespace, "namespace of scaler and launcher, where the ScaledObject is")
	return config.Group{Title: "Checking", Flags: fs}
}

type checkOptions struct {
	format, as, home string
	timeout          time.Duration
	scaler           bool
}

func checkFlagsOf(c *cobra.Command) (checkOptions, error) {
	var o checkOptions
	o.format, _ = c.Flags().GetString("output")
	o.as, _ = c.Flags().GetString("as")
	o.home, _ = c.Flags().GetString("launcher-namespace")
	o.timeout, _ = c.Flags().GetDuration("timeout")
	o.scaler, _ = c.Flags().GetBool("scaler")
	if o.format != "text" && o.format != "json" {
		return o, misconfigured{fmt.Errorf("--output: %q is no format: give text or json", o.format)}
	}
	if o.timeout <= 0 {
		return o, misconfigured{fmt.Errorf("--timeout: is %s: give some seconds", o.timeout)}
	}
	return o, nil
}

// launcherChecks are for a launcher with these flags and this environment, and
// what must not be printed of its settings.
func launcherChecks(c *cobra.Command, env environment, o checkOptions, logTo io.Writer) (checks []check.Check, secrets []string, err error) {
	s, err := loadLauncher(c, env)
	if err != nil {
		return nil, nil, err
	}
	log := newLogger(logTo, s.Process)
	adoptLibraries(log)
	hintAtCommas(log, c)
	jobs := jobSettings(s)
	checks, err = prefectChecks(connection{prefect: s.Prefect}, log, check.PrefectOptions{Labels: s.Labels, AgentConfigID: s.Agent.AgentConfigID})
	if err != nil {
		return nil, nil, err
	}
	cluster := check.OfCluster(check.ClusterOptions{
		Connect:    func() (check.Cluster, error) { return connect(o, s.Kubernetes, s.Namespace, log) },
		Namespaces: []string{s.Namespace}, Home: o.home,
		Role: "prefect-keda-launcher", Permissions: kube.LauncherPermissions(),
		Launching: &check.LaunchingOptions{
			Renderer: job.Renderer{Settings: jobs, Source: source.New(nil)}, TemplateOrigin: s.JobTemplate.String(), KeySecret: jobs.APIKeySecret,
		},
	})
	return append(checks, cluster...), []string{s.APIKey().Reveal()}, nil
}

// scalerChecks are for a scaler: all its connections, and the namespaces of their
// Jobs.
func scalerChecks(c *cobra.Command, env environment, o checkOptions, logTo io.Writer) (checks []check.Check, secrets []string, err error) {
	s, err := loadScaler(c, env)
	if err != nil {
		return nil, nil, err
	}
	log := newLogger(logTo, s.Process)
	adoptLibraries(log)
	for i, conn := range connections(s) {
		options := check.PrefectOptions{AllLabels: true}
		if len(s.Named) > 0 {
			options.Connection = conn.name
		}
		if i > 0 {
			options.Settings = check.PrefectSettings{
				API: conn.variable("API"), Key: conn.variable("API_KEY"), TenantID: conn.variable("TENANT_ID"), Backend: conn.variable("BACKEND"),
			}
		}
		asked, err := prefectChecks(conn, log, options)
		if err != nil {
			return nil, nil, err
		}
		checks = append(checks, asked...)
		secrets = append(secrets, conn.prefect.APIKey().Reveal())
	}
	return append(checks, check.OfCluster(check.ClusterOptions{
		Connect:    func() (check.Cluster, error) { return connect(o, s.Kubernetes, "", log) },
		Namespaces: namespacesOf(connections(s)), Home: o.home,
		Role: "prefect-keda-scaler", Permissions: kube.ScalerPermissions(),
	})...), secrets, nil
}

// prefectChecks are a connection's; the settings are the default one's unless
// they are said.
func prefectChecks(c connection, log *slog.Logger, o check.PrefectOptions) ([]check.Check, error) {
	client, err := prefect1.New(apiOptions(c.prefect, "check", log, nil, config.Agent{}))
	if err != nil {
		return nil, misconfigured{fmt.Errorf("set up the Prefect client: %w", err)}
	}
	if o.Settings == (check.PrefectSettings{}) {
		o.Settings = check.PrefectSettings{
			API: settingName(apiVariable), Key: settingName(keyVariable), TenantID: settingName("PREFECT__CLOUD__TENANT_ID"), Backend: settingName("PREFECT__BACKEND"),
		}
	}
	o.Address, o.Client, o.Backend, o.HasKey = strings.TrimRight(c.prefect.Address(), "/"), client, string(c.prefect.Backend), c.prefect.APIKey() != ""
	return check.OfPrefect(o), nil
}

// connect makes two clients: one for whoever asks, and one for whom is asked.
func connect(o checkOptions, k config.Kubernetes, jobNamespace string, log *slog.Logger) (check.Cluster, error) {
	cfg, source, err := kubeConfig(log, k, "check")
	if err != nil {
		return check.Cluster{}, err
	}
	ours, err := kube.NewClient(cfg)
	if err != nil {
		return check.Cluster{}, err
	}
	warned := &warnings{}
	acting := rest.CopyConfig(cfg)
	acting.Impersonate.UserName, acting.WarningHandlerWithContext = o.as, warned
	theirs, err := kube.NewClient(acting)
	if err != nil {
		return check.Cluster{}, err
	}
	return check.Cluster{
		Address: cfg.Host, Source: source, Objects: ours,
		Reviews: theirs.Reviews(), Jobs: theirs.Jobs(jobNamespace), Warnings: func() []string { return *warned },
	}, nil
}

// warnings keeps what the API server warns of; one call at a time.
type warnings []string

// HandleWarningHeaderWithContext is that of rest.WarningHandlerWithContext.
func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	*w = append(*w, text)
}

// hiding takes out what is secret and other people's error texts may repeat.
func hiding(secrets []string) *strings.Replacer {
	var pairs []string
	for _, secret := range secrets {
		if secret != "" {
			pairs = append(pairs, secret, hiddenKey)
		}
	}
	return strings.NewReplacer(pairs...)
}

// runChecks prints a line as each check ends; JSON comes when all have.
func runChecks(ctx context.Context, o checkOptions, checks []check.Check, hide *strings.Replacer, out io.Writer) error {
	width := 0
	for _, c := range checks {
		width = max(width, len(c.Name))
	}
	results := []check.Result{}
	failures := check.Run(ctx, o.timeout, checks, func(r check.Result) {
		r.Detail = hide.Replace(r.Detail) // the advice is our own text
		results = append(results, r)
		if o.format == "text" {
			printResult(out, r, width)
		}
	})
	if o.format == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(results); err != nil {
			return fmt.Errorf("write the results: %w", err)
		}
	}
	if failures > 0 {
		return reported{errors.New("checks failed")}
	}
	return nil
}

func printResult(out io.Writer, r check.Result, width int) {
	status := string(r.Status)
	if r.Status == check.Fail {
		status = "FAIL" // to be found in a page of lines
	}
	fmt.Fprintf(out, "%-4s  %-*s  %s\n", status, width, r.Check, r.Detail)
	if r.Advice != "" {
		fmt.Fprintf(out, "%*s→ %s\n", width+len("FAIL    "), "", r.Advice)
	}
}
