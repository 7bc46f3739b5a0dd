package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/ops"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/scaler"
	"github.com/prefect-keda/prefect-keda/trouble/informer"
)

var _ scaler.Source = (*prefect1.Client)(nil)

func newScaler(io streams, env environment) *cobra.Command {
	c := &cobra.Command{
		Use:   "scaler [flags]",
		Short: "Tell KEDA how many launchers are wanted",
		Long: `The scaler is KEDA's external scaler: a gRPC server that counts the flow runs that are due, at the cost of one
request to the Prefect API per interval and one about Jobs every 30 s, however many ScaledObjects ask.

An API that is away or refuses the key does not end it: KEDA is answered with errors once the last answer is too
old, and scales nothing until that has passed.

Every flag has an environment variable, named in brackets with its default; the flag wins.`,
		Example: `  prefect-keda scaler
  prefect-keda scaler --backend server --api http://localhost:4200 --namespace flows
  prefect-keda scaler --tls-cert-file /tls/tls.crt --tls-key-file /tls/tls.key --tls-client-ca-file /tls/ca.crt`,
		Args: noArgs,
		Annotations: exits(
			"SIGTERM came",
			"something failed that may pass; start it again",
			"a flag or a setting is wrong, or a permission is missing"),
	}
	addFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		settings, err := loadScaler(c, env)
		if err != nil {
			return err
		}
		log := newLogger(io.err, settings.Process)
		adoptLibraries(log)
		announce(log, c, env, settings)
		thrift(env)
		return ended(c.Context(), log, runScaler(c.Context(), log, settings))
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
	cfg, _, err := kubeConfig(log, s.Kubernetes, "scaler")
	if err != nil {
		return err
	}
	server, err := buildScaler(s, cfg, log, registry)
	if err != nil {
		return misconfigured{err}
	}
	mux := ops.Handler(registry, server.Live, server.Ready)
	mux.Handle("GET /debug/demand", server.Debug())
	sites, err := listen(ctx, log, place{opsVariable, s.OpsListen, mux})
	if err != nil {
		return err
	}
	if err := checkAccess(ctx, log, cfg, kube.ScalerPermissions(), namespacesOf(connections(s))); err != nil {
		return err
	}
	return notListening(serveBeside(ctx, server.Run, sites...), "PREFECT_KEDA_LISTEN")
}

// buildScaler makes no request.
func buildScaler(s config.Scaler, cfg *rest.Config, log *slog.Logger, registry prometheus.Registerer) (*scaler.Server, error) {
	clients, err := connected(connections(s), log, registry)
	if err != nil {
		return nil, err
	}
	client, err := kube.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	kubernetes := func(namespace string) informer.Client {
		return informer.Client{
			Jobs: client.Jobs(namespace), Pods: client.Pods(namespace),
			UID: func(ctx context.Context) (string, error) { return client.NamespaceUID(ctx, namespace) },
		}
	}
	options := scalerOptions(s, clients)
	options.Kubernetes, options.Logger, options.Registerer = kubernetes, log, registry
	server, err := scaler.New(options)
	if errors.Is(err, scaler.ErrCertificate) {
		return nil, config.Problem{Setting: "PREFECT_KEDA_TLS_CERT_FILE, PREFECT_KEDA_TLS_KEY_FILE, PREFECT_KEDA_TLS_CLIENT_CA_FILE", Text: err.Error()}
	}
	return server, err
}

// scalerOptions are the settings, as the scaler takes them.
func scalerOptions(s config.Scaler, clients map[string]scaler.Connection) scaler.Options {
	options := scaler.Options{
		Listen: string(s.Listen), Connections: clients,
		PollInterval: s.PollInterval, PollTimeout: s.RequestTimeout.Duration(), MaxStaleness: s.MaxStaleness, WarmUpLead: s.WarmUpLead,
		Rules: rules(s.Trouble), Reflection: s.Reflection,
	}
	if s.TLSCertFile != "" {
		options.TLS = &scaler.TLS{CertFile: s.TLSCertFile, KeyFile: s.TLSKeyFile, ClientCAFile: s.TLSClientCAFile, ClientNames: s.TLSClientNames}
	}
	return options
}

// connection is one of the scaler's Prefect APIs, and where its runs become Jobs.
type connection struct {
	name       string
	prefect    config.Prefect
	namespaces []string
	allowed    []string
	variable   func(string) string // of a further one
}

// connections are the default one and the named ones.
func connections(s config.Scaler) []connection {
	all := []connection{{name: "default", prefect: s.Prefect, namespaces: s.JobNamespaces, allowed: s.AllowedNamespaces}}
	for _, c := range s.Named {
		p := s.Prefect
		p.Backend, p.API, p.Key, p.SecretKey, p.TenantID = c.Backend, c.API, c.Key, "", c.TenantID
		all = append(all, connection{name: c.Name, prefect: p, namespaces: c.JobNamespaces, allowed: c.AllowedNamespaces, variable: c.Variable})
	}
	return all
}

// addressSetting is what says where the API is.
func (c connection) addressSetting() string {
	if c.variable != nil && c.prefect.API != "" {
		return c.variable("API")
	}
	return c.prefect.AddressSetting()
}

// credentialSettings are what hold the key and the tenant.
func (c connection) credentialSettings() string {
	variable := c.variable
	if variable == nil {
		variable = func(name string) string { return "PREFECT__CLOUD__" + name }
	}
	return variable("API_KEY") + " and " + variable("TENANT_ID")
}

// allowedSetting is what says whose ScaledObjects may ask.
func (c connection) allowedSetting() string {
	if c.variable != nil {
		return c.variable("ALLOWED_NAMESPACES")
	}
	return "PREFECT_KEDA_ALLOWED_NAMESPACES"
}

func namespacesOf(all []connection) []string {
	var namespaces []string
	for _, c := range all {
		namespaces = append(namespaces, c.namespaces...)
	}
	slices.Sort(namespaces)
	return slices.Compact(namespaces)
}

// connected are the connections with their clients.
func connected(all []connection, log *slog.Logger, registry prometheus.Registerer) (map[string]scaler.Connection, error) {
	clients := map[string]scaler.Connection{}
	for _, c := range all {
		log.Info("the Prefect API to ask", "connection", c.name, "api", c.prefect.Address(), "setting", c.addressSetting())
		client, err := prefect1.New(apiOptions(c.prefect, "scaler", log.With("connection", c.name), registry, config.Agent{}))
		if err != nil {
			return nil, fmt.Errorf("set up the Prefect client of connection %s: %w", c.name, err)
		}
		clients[c.name] = scaler.Connection{
			Source: client, JobNamespaces: c.namespaces, Credentials: c.credentialSettings(),
			Allowed: c.allowed, AllowedSetting: c.allowedSetting(),
		}
	}
	return clients, nil
}
