package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
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

Every setting of the launcher has an environment variable, named in brackets with its default; the flag wins.`,
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
		settings, err := loadLauncher(c, env)
		if err != nil {
			return err
		}
		log := newLogger(io.err, settings.Process)
		adoptLibraries(log)
		checks, err := checksOf(o, settings, log)
		if err != nil {
			return err
		}
		return runChecks(c.Context(), o, checks, hiding(settings), io.out)
	}
	return c
}

func checkFlags() config.Group {
	fs := pflag.NewFlagSet("check", pflag.ContinueOnError)
	fs.StringP("output", "o", "text", "text, or json")
	fs.Duration("timeout", 10*time.Second, "time for each check")
	fs.String("as", "", "act as this user where the launcher acts (permissions, the trial Job), for example\nsystem:serviceaccount:prefect-keda:prefect-keda-launcher; takes the permission to impersonate")
	fs.Bool("scaler", false, "ask for the scaler's permissions instead of the launcher's")
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

func checksOf(o checkOptions, s config.Launcher, log *slog.Logger) ([]check.Check, error) {
	client, err := prefect1.New(apiOptions(s.Prefect, "check", log, nil, s.Agent))
	if err != nil {
		return nil, misconfigured{fmt.Errorf("set up the Prefect client: %w", err)}
	}
	jobs := jobSettings(s)
	cluster := check.ClusterOptions{
		Connect:   func() (check.Cluster, error) { return connect(o, s, log) },
		Namespace: s.Namespace, Home: o.home,
		Role: "prefect-keda-launcher", Permissions: kube.LauncherPermissions(), CreatesJobs: true,
		Renderer: job.Renderer{Settings: jobs, Source: source.New(nil)}, TemplateOrigin: s.JobTemplate, KeySecret: jobs.APIKeySecret,
	}
	if o.scaler {
		cluster.Role, cluster.Permissions, cluster.CreatesJobs = "prefect-keda-scaler", kube.ScalerPermissions(), false
	}
	return append(check.OfPrefect(check.PrefectOptions{
		Address: jobs.API, Client: client, Backend: string(s.Backend), HasKey: s.APIKey() != "", Labels: s.Labels,
	}), check.OfCluster(cluster)...), nil
}

// connect makes two clients: one for whoever asks, and one for whom is asked.
func connect(o checkOptions, s config.Launcher, log *slog.Logger) (check.Cluster, error) {
	cfg, source, err := kubeConfig(log, s.Kubernetes, "check")
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
		Reviews: theirs.Reviews(), Jobs: theirs.Jobs(s.Namespace), Warnings: func() []string { return *warned },
	}, nil
}

// warnings keeps what the API server warns of; one call at a time.
type warnings []string

// HandleWarningHeaderWithContext is that of rest.WarningHandlerWithContext.
func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	*w = append(*w, text)
}

// hiding takes out what may be secret and other people's error texts may repeat:
// the key, and what lets one read the template.
func hiding(s config.Launcher) *strings.Replacer {
	secrets := []string{s.APIKey().Reveal()}
	if u, err := url.Parse(s.JobTemplate); err == nil {
		secrets = append(secrets, u.User.String(), u.RawQuery)
	}
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
