package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/ops"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/scaler"
)

var _ scaler.Source = (*prefect1.Client)(nil)

func newScaler(io streams, env environment) *cobra.Command {
	c := &cobra.Command{
		Use:   "scaler [flags]",
		Short: "Tell KEDA how many launchers are wanted",
		Long: `The scaler is KEDA's external scaler: a gRPC server that counts the flow runs that are due, at the cost of one
request to the Prefect API per interval, however many ScaledObjects ask.

Every flag has an environment variable, named in brackets with its default; the flag wins.`,
		Example: `  prefect-keda scaler
  prefect-keda scaler --backend server --api http://localhost:4200 --namespace flows
  prefect-keda scaler --tls-cert-file /tls/tls.crt --tls-key-file /tls/tls.key --tls-client-ca-file /tls/ca.crt`,
		Args: noArgs,
		Annotations: exits(
			"SIGTERM came",
			"something failed that may pass; start it again",
			"a flag or a setting is wrong, a permission is missing, or the API refuses the key"),
	}
	addFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		given, problems := lookup(c, env, config.Scaler{})
		settings, err := config.LoadScaler(c.Context(), given)
		if err := wrongSettings(problems, err); err != nil {
			return err
		}
		log := newLogger(io.err, settings.Process)
		adoptLibraries(log)
		announce(log, env, "scaler", settings)
		thrift(env)
		return runScaler(c.Context(), log, settings)
	}
	return c
}

// thrift trades a little CPU for memory: the scaler is the one process that is
// always there. Go's own variables still win.
func thrift(env environment) {
	if _, set := env.Lookup("GOGC"); !set {
		debug.SetGCPercent(40)
	}
	if _, set := env.Lookup("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(64 << 20)
	}
}

func runScaler(ctx context.Context, log *slog.Logger, s config.Scaler) error {
	registry := newRegistry()
	connections, namespaces, err := connections(s, log, registry)
	if err != nil {
		return misconfigured{err}
	}
	cfg, _, err := kubeConfig(log, s.Kubernetes, "scaler")
	if err != nil {
		return err
	}
	client, err := kube.NewClient(cfg)
	if err != nil {
		return misconfigured{err}
	}
	options := scaler.Options{
		Listen: string(s.Listen), Connections: connections,
		Kubernetes: scaler.Kubernetes{
			Jobs: func(namespace string) scaler.Lister[*batchv1.JobList] { return client.Jobs(namespace) },
			Pods: func(namespace string) scaler.Lister[*corev1.PodList] { return client.Pods(namespace) },
			UID:  client.NamespaceUID,
		},
		PollInterval: s.PollInterval, PollTimeout: s.RequestTimeout.Duration(), MaxStaleness: s.MaxStaleness, WarmUpLead: s.WarmUpLead,
		Rules: rules(s.Trouble), Reflection: s.Reflection, Logger: log, Registerer: registry,
	}
	if s.TLSCertFile != "" {
		options.TLS = &scaler.TLS{CertFile: s.TLSCertFile, KeyFile: s.TLSKeyFile, ClientCAFile: s.TLSClientCAFile}
	}
	server, err := scaler.New(options)
	if err != nil {
		return misconfigured{err}
	}
	mux := ops.Handler(registry, server.Live, server.Ready)
	mux.Handle("GET /debug/demand", server.Debug())
	sites, err := listen(ctx, map[string]http.Handler{string(s.OpsListen): mux})
	if err != nil {
		return err
	}
	if err := checkAccess(ctx, log, cfg, kube.ScalerPermissions(), namespaces); err != nil {
		return err
	}
	return serveBeside(ctx, server.Run, sites...)
}

// connections are the default one and the named ones, and the namespaces of all
// their Jobs.
func connections(s config.Scaler, log *slog.Logger, registry prometheus.Registerer) (map[string]scaler.Connection, []string, error) {
	all := map[string]scaler.Connection{}
	var namespaces []string
	add := func(name string, p config.Prefect, in []string) error {
		client, err := prefect1.New(apiOptions(p, "scaler", log.With("connection", name), registry, config.Agent{}))
		if err != nil {
			return fmt.Errorf("set up the Prefect client of connection %s: %w", name, err)
		}
		all[name] = scaler.Connection{Source: client, JobNamespaces: in}
		namespaces = append(namespaces, in...)
		return nil
	}
	if err := add("default", s.Prefect, s.JobNamespaces); err != nil {
		return nil, nil, err
	}
	for _, c := range s.Named {
		p := s.Prefect
		p.Backend, p.API, p.Key, p.TenantID = c.Backend, c.API, c.Key, c.TenantID
		if err := add(c.Name, p, c.JobNamespaces); err != nil {
			return nil, nil, err
		}
	}
	slices.Sort(namespaces)
	return all, slices.Compact(namespaces), nil
}
