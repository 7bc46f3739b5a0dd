package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/check"
	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/scaler"
)

func newCheck(io streams, env environment) *cobra.Command {
	c := &cobra.Command{
		Use:   "check [flags]",
		Short: "Test everything a launcher needs, and say what to do about failures",
		Long: `Check asks Prefect and Kubernetes, one question after the other, whether a launcher with these flags and this
environment would work: the API, its version, the key or auth string, the work pools or the tenant, permissions,
KEDA, the Job template and what it names, and in Prefect 3 a Job of each work pool. One line each tells what was
found, and for a failure what to do next. What depends on a failure is skipped.

It changes nothing: the Jobs it sends are dry runs. What its user may not look at is skipped and said so; for the
launcher's permissions as seen from somebody else's terminal give --as. In the cluster, where the scaler always is, for
the scaler and for launchers:
  kubectl -n prefect-keda exec deploy/prefect-keda-scaler -- /usr/local/bin/app check --scaler
  kubectl -n prefect-keda exec deploy/prefect-keda-scaler -- /usr/local/bin/app check \
    --as system:serviceaccount:prefect-keda:prefect-keda-launcher

It takes every flag and variable of the launcher, with --scaler of the scaler; shown below are those that matter here.
The variable is in brackets, with its default; the flag wins.`,
		Example: `  prefect-keda check
  prefect-keda check --prefect 3 --api http://localhost:4200/api --pool etl --namespace flows
  prefect-keda check --backend server --api http://localhost:4200 --namespace flows --label gpu
  prefect-keda check --namespace flows --as system:serviceaccount:prefect-keda:prefect-keda-launcher
  prefect-keda check -o json --timeout 5s > check.json`,
		Args: noArgs,
		Annotations: exits(
			"nothing failed",
			"something failed; the output says what to do",
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
		checks, secrets, err := of(c, env, o, io)
		if err != nil {
			return err
		}
		return runChecks(c.Context(), o, checks, hiding(secrets), io.out)
	}
	return c
}

func checkFlags() config.Group {
	fs := pflag.NewFlagSet("check", pflag.ContinueOnError)
	addAnswering(fs, "check")
	fs.String("as", "", "act as this user where the launcher acts (permissions, the trial Job), for example\nsystem:serviceaccount:prefect-keda:prefect-keda-launcher; without the right to\nimpersonate, this needs localsubjectaccessreviews, and skips the trial Job")
	fs.Bool("scaler", false, "test what the scaler needs, with its settings: all namespaces (--namespace a,b) and connections")
	return config.Group{Title: "Checking", Flags: fs}
}

type checkOptions struct {
	answering
	as     string
	scaler bool
}

func checkFlagsOf(c *cobra.Command) (o checkOptions, err error) {
	o.as, _ = c.Flags().GetString("as")
	o.scaler, _ = c.Flags().GetBool("scaler")
	o.answering, err = answeringOf(c)
	return o, err
}

// launcherChecks are for a launcher with these flags and this environment, and
// what must not be printed of its settings.
func launcherChecks(c *cobra.Command, env environment, o checkOptions, io streams) (checks []check.Check, secrets []string, err error) {
	s, err := loadLauncher(c, env)
	if err != nil {
		return nil, nil, err
	}
	log := io.logger(s.Process)
	hintAtCommas(log, c)
	b, err := newBackend(s.Prefect, s.Agent, "check", log, nil)
	if err != nil {
		return nil, nil, misconfigured{err}
	}
	cluster := check.OfCluster(check.ClusterOptions{
		Connect:    func() (check.Cluster, error) { return connect(o, s.Kubernetes, s.Namespace, log) },
		Namespaces: s.Namespaces(), Home: home(s.Kubernetes, kube.PodNamespace()), Metadata: scaler.CheckMetadata,
		Role: "prefect-keda-launcher", Permissions: kube.LauncherPermissions(),
		Launching: &check.LaunchingOptions{
			Renderer: b.renderer(s, false), TemplateOrigin: s.JobTemplate.String(), KeySecret: keySecret(s), AuthSecret: selector(s.AuthStringFrom()), OfPools: ofPools(b, s),
		},
	})
	return append(b.checks(asked{scope: scopeOf(s), variable: ofDefault(s.Kind)}), cluster...), []string{s.APIKey().Reveal(), s.AuthString.Reveal()}, nil
}

// ofPools is nil where launchers serve no work pools.
func ofPools(b backend, s config.Launcher) func(ctx context.Context) ([]check.PoolJob, error) {
	if s.Kind != config.Prefect3 {
		return nil
	}
	return func(ctx context.Context) ([]check.PoolJob, error) { return b.poolJobs(ctx, s) }
}

// scalerChecks are for a scaler: all its connections, and the namespaces of their
// Jobs.
func scalerChecks(c *cobra.Command, env environment, o checkOptions, io streams) (checks []check.Check, secrets []string, err error) {
	s, err := loadScaler(c, env)
	if err != nil {
		return nil, nil, err
	}
	log := io.logger(s.Process)
	for _, conn := range connections(s) {
		b, err := newBackend(conn.prefect, config.Agent{}, "check", log, nil)
		if err != nil {
			return nil, nil, misconfigured{err}
		}
		about := asked{anywhere: true, withoutEvents: !bool(s.Events), variable: conn.variable}
		if len(s.Named) > 0 {
			about.connection = conn.name
		}
		checks = append(checks, b.checks(about)...)
		secrets = append(secrets, conn.prefect.APIKey().Reveal(), conn.prefect.AuthString.Reveal())
	}
	return append(checks, check.OfCluster(check.ClusterOptions{
		Connect:    func() (check.Cluster, error) { return connect(o, s.Kubernetes, "", log) },
		Namespaces: namespacesOf(connections(s)), Home: home(s.Kubernetes, kube.PodNamespace()), Metadata: scaler.CheckMetadata,
		Role: "prefect-keda-scaler", Permissions: kube.ScalerPermissions(),
	})...), secrets, nil
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
	cluster := check.Cluster{
		Address: cfg.Host, Source: source, Objects: ours,
		Reviews: theirs.Reviews(), Jobs: theirs.Jobs(jobNamespace), JobsIn: func(namespace string) check.Creator { return theirs.Jobs(namespace) }, Warnings: func() []string { return *warned },
	}
	if o.as != "" {
		cluster.ReviewsOf = ours.ReviewsOf(o.as)
	}
	return cluster, nil
}

// warnings keeps what the API server warns of; one call at a time.
type warnings []string

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
		if err := writeJSON(out, results); err != nil {
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
