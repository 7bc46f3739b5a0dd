package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/jobs/informer"
	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/ops"
	"github.com/prefect-keda/prefect-keda/scaler"
	"github.com/prefect-keda/prefect-keda/trouble"
)

func newScaler(io streams, env environment) *cobra.Command {
	c := &cobra.Command{
		Use:   "scaler [flags]",
		Short: "Tell KEDA how many launchers are wanted",
		Long: `The scaler is KEDA's external scaler: a gRPC server that counts the flow runs that are due. It costs one request to
the Prefect API per interval (with Prefect 3 up to four while runs wait) and one about Jobs every 30 s, for any number
of ScaledObjects.

It goes on while the API is away or refuses the key: when the last answer is too old, KEDA gets errors and scales
nothing until Prefect answers again. It is not ready while it lacks permissions in all namespaces of its Jobs, or
these do not exist.

Every flag has an environment variable, named in brackets with its default; the flag wins.`,
		Example: `  prefect-keda scaler
  prefect-keda scaler --prefect 3 --api http://localhost:4200/api --namespace flows
  prefect-keda scaler --backend server --api http://localhost:4200 --namespace flows
  prefect-keda scaler --tls-cert-file /tls/tls.crt --tls-key-file /tls/tls.key --tls-client-ca-file /tls/ca.crt`,
		Args: noArgs,
		Annotations: exits(
			"SIGTERM came",
			"something failed that may pass; start it again",
			"a flag or a setting is wrong"),
	}
	addFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		settings, err := loadScaler(c, env)
		if err != nil {
			return err
		}
		log := io.logger(settings.Process)
		announce(log, c, env, settings)
		heedLimit(env, os.DirFS("/"))
		collectOften(env)
		if needsRoots(connections(settings)) {
			io.trustRoots()
		}
		return ended(c.Context(), log, runScaler(c.Context(), log, settings))
	}
	return c
}

func runScaler(ctx context.Context, log *slog.Logger, s config.Scaler) error {
	client, notices, err := onKubernetes(log, s.Kubernetes, "scaler")
	if err != nil {
		return err
	}
	registry := newRegistry()
	a := &access{log: log, reviews: client.Reviews(), permissions: kube.ScalerPermissions(), namespaces: namespacesOf(connections(s)), operator: onOwnPod(notices)}
	server, err := buildScaler(s, client, notices, a.err, log, registry)
	if err != nil {
		return misconfigured{err}
	}
	mux := ops.Handler(registry, server.Live, server.Ready, ops.Page{Path: "/debug/demand", About: "why launchers are wanted or not, and which runs wait"})
	mux.Handle("GET /debug/demand", server.Debug())
	sites, err := listen(ctx, log, listener{opsVariable, s.OpsListen, mux})
	if err != nil {
		return err
	}
	work := func(ctx context.Context) error {
		if a.ask(ctx) == nil { // before anybody hears that we are ready
			return server.Run(ctx)
		}
		await := func(ctx context.Context) { _ = a.await(ctx, 0) } // patient for ever
		return beside(ctx, await, func() error { return server.Run(ctx) })
	}
	return notListening(serveBeside(ctx, notices, work, sites...), "PREFECT_KEDA_LISTEN")
}

// buildScaler makes no request.
func buildScaler(s config.Scaler, client *kube.Client, operator scaler.Operator, ready func() error, log *slog.Logger, registry prometheus.Registerer) (*scaler.Server, error) {
	clients, err := connected(connections(s), bool(s.Events), log, registry)
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
	options.Kubernetes, options.Operator, options.Ready, options.Logger, options.Registerer = kubernetes, operator, ready, log, registry
	server, err := scaler.New(options)
	if errors.Is(err, scaler.ErrCertificate) {
		return nil, config.Problem{Setting: "PREFECT_KEDA_TLS_CERT_FILE, PREFECT_KEDA_TLS_KEY_FILE, PREFECT_KEDA_TLS_CLIENT_CA_FILE", Text: err.Error()}
	}
	return server, err
}

func scalerOptions(s config.Scaler, clients map[string]scaler.Connection) scaler.Options {
	options := scaler.Options{
		Listen: string(s.Listen), Connections: clients,
		PollInterval: s.PollInterval, PollTimeout: s.RequestTimeout.Duration(), MaxStaleness: s.MaxStaleness, WarmUpLead: s.WarmUpLead,
		Rules: rules(s.Trouble, s.Kind), Reflection: s.Reflection,
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
	home       string              // of the scaler
	ui         string              // Prefect's; may be empty
	variable   func(string) string // has one of its settings
	trouble    *trouble.Rules      // nil for those of all
}

func connections(s config.Scaler) []connection {
	all := []connection{{name: "default", prefect: s.Prefect, namespaces: s.AllNamespaces(), allowed: s.AllowedNamespaces, ui: s.UIURL.Reveal(), variable: ofDefault(s.Kind)}}
	for _, c := range s.Named {
		p := s.Prefect
		p.Backend, p.API, p.Key, p.SecretKey, p.TenantID, p.Headers = c.Backend, c.API, c.Key, "", c.TenantID, c.Headers
		p.Kind, p.AuthString = config.Prefect1, c.AuthString
		if c.Backend == config.OfPrefect3 {
			p.Kind, p.API = config.Prefect3, c.APIURL
		}
		all = append(all, connection{name: c.Name, prefect: p, namespaces: c.JobNamespaces, allowed: c.AllowedNamespaces, ui: c.UIURL.Reveal(), variable: c.Variable})
	}
	for i := range all {
		all[i].home = home(s.Kubernetes, kube.PodNamespace())
		if kind := all[i].prefect.Kind; kind != s.Kind {
			all[i].trouble = new(rules(s.TroubleOf(kind), kind))
		}
	}
	return all
}

func (c connection) addressSetting() string {
	switch {
	case c.prefect.Kind == config.Prefect3:
		return settingName(c.variable("API_URL"))
	case c.prefect.API != "":
		return settingName(c.variable("API"))
	}
	return c.prefect.AddressSetting()
}

func (c connection) credentials() string {
	return credentials(c.prefect, config.SecretKey{}, c.home, c.variable)
}

func namespacesOf(all []connection) []string {
	var namespaces []string
	for _, c := range all {
		namespaces = append(namespaces, c.namespaces...)
	}
	slices.Sort(namespaces)
	return slices.Compact(namespaces)
}

func connected(all []connection, events bool, log *slog.Logger, registry prometheus.Registerer) (map[string]scaler.Connection, error) {
	clients := map[string]scaler.Connection{}
	for _, c := range all {
		log.Info("using the Prefect API", "connection", c.name, "api", c.prefect.Address().String(), "setting", c.addressSetting())
		b, err := newBackend(c.prefect, config.Agent{}, "scaler", log.With("connection", c.name), registry)
		if err != nil {
			return nil, fmt.Errorf("connection %s: %w", c.name, err)
		}
		clients[c.name] = scaler.Connection{
			Source: sourceOf(b, c.prefect, events), Places: placesOf(c.prefect), Announce: c.prefect.Kind == config.Prefect3, JobNamespaces: c.namespaces, Marks: b.marks(), Credentials: c.credentials(),
			Allowed: c.allowed, AllowedSetting: c.variable("ALLOWED_NAMESPACES"), Rules: c.trouble,
			RunURL: b.runURL(c.ui), Replaces: b.replaces(),
		}
	}
	return clients, nil
}

// sourceOf is what the scaler may use of a backend: without events it only polls.
func sourceOf(b backend, p config.Prefect, events bool) scaler.Source {
	if p.Kind != config.Prefect3 || events {
		return b
	}
	return struct {
		scaler.Source
		scaler.Announcer
	}{b, b}
}

func placesOf(p config.Prefect) scaler.PlaceKind {
	if p.Kind == config.Prefect3 {
		return scaler.ByWorkPools
	}
	return scaler.ByLabels
}
