package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/install"
)

func newInstall(io streams, env environment) *cobra.Command {
	c := &cobra.Command{
		Use:   "install [flags]",
		Short: "Print manifests to pipe into kubectl, and change nothing",
		Long: `Install prints what "kubectl apply -k manifests" would apply, with your settings in it: the namespace prefect-keda,
in it the scaler, the launcher, its ScaledObject and a ConfigMap, and the flows' namespace prefect-flows with the Roles.
Other namespaces, by --install-namespace and --namespace, have to be there already. Comments say where each flag went.
KEDA has to be installed first.

Give --api with Prefect 3's URL (it ends with /api, or names account and workspace), or --prefect 3; otherwise it is
for Prefect 1, with the flags of "prefect agent kubernetes install".

With --from-worker it takes over what a worker is told by the manifest that Prefect's chart made: work pool and queues,
URL, key, and what a launcher needs of its pod. With --from-agent it does the same for a Prefect 1 agent. What is not
taken over, and what has no effect, is named:
  helm get manifest RELEASE | prefect-keda install --from-worker - | kubectl apply -f -
  kubectl -n NS get deployment prefect-agent -o yaml | prefect-keda install --from-agent - | kubectl apply -f -

Of your own environment only PREFECT__BACKEND is read, as Prefect 1 does. A key or an auth string goes into a Secret,
which is then part of what is printed. Give --key - or --auth-string - to have it read from standard input and not shown
in the list of processes, name a Secret by --api-key-secret or --auth-string-secret, or make the Secret yourself:
  for n in prefect-keda prefect-flows; do
    kubectl -n $n create secret generic prefect-api-key --from-literal=api-key=...; done

A variable in brackets is where a flag goes in the ConfigMap, with the value it has without.`,
		Example: `  prefect-keda install --api http://prefect-server.prefect:4200/api --pool etl | kubectl apply -f -
  prefect-keda install -a https://api.prefect.cloud/api/accounts/A/workspaces/W -k - < key.txt | kubectl apply -f -
  prefect-keda install --from-worker worker.yaml | kubectl apply -f -
  prefect-keda install --backend server --api http://prefect-apollo.prefect:4200 --label gpu | kubectl apply -f -
  prefect-keda install --from-agent agent.yaml --image registry.example.com/prefect-keda:1 > prefect-keda.yaml`,
		Args: noArgs,
		Annotations: exits(
			"the manifests are printed",
			"they cannot be written",
			"a flag or a setting is wrong, so the processes would not start"),
	}
	addFlags(c)
	c.SetFlagErrorFunc(explainFlag)
	c.RunE = func(c *cobra.Command, _ []string) error {
		o, hints, err := installOptions(c, env, io.in)
		if err != nil {
			return err
		}
		text, err := install.Render(o)
		if err != nil {
			return err
		}
		for _, hint := range hints {
			fmt.Fprintln(io.err, "prefect-keda: "+hint)
		}
		_, err = io.out.Write(text)
		return err
	}
	return c
}

// prefectsFlags are those of `prefect agent kubernetes install` and `prefect worker start`
// that are settings, with the short forms that they have here: -n is a name for start and a
// namespace for install.
func prefectsFlags() map[string]string {
	return map[string]string{
		"pool": "p", "work-queue": "q", "name": "",
		"key": "k", "tenant-id": "", "label": "l", "env": "e", "agent-config-id": "", "api": "a",
		"image-pull-secrets": "i", "service-account-name": "", "backend": "b",
	}
}

// agentJobFlags are those that the agent has and never read (prefect1 §5.4).
func agentJobFlags() []string {
	return []string{"mem-request", "mem-limit", "cpu-request", "cpu-limit", "image-pull-policy"}
}

// wired are variables whose value hangs together with other fields of the
// manifests, and what to do instead of giving a flag.
func wired() map[string]string {
	const print = "print the manifests, and change it there together with "
	return map[string]string{
		"NAMESPACE":                       "give --namespace",
		"PREFECT_KEDA_API_KEY":            "give --key, which goes into the Secret",
		"PREFECT_KEDA_API_AUTH_STRING":    "give --auth-string, which goes into the Secret",
		"PREFECT_KEDA_API_HEADERS":        "put them into the Secret " + install.SecretName + " under the key api-headers, where both Deployments read them",
		"PREFECT_KEDA_OPS_LISTEN":         print + "the ports named ops and the probes",
		"PREFECT_KEDA_LISTEN":             print + "the ports named grpc, the Service, the probes and the trigger's scalerAddress",
		"PREFECT_KEDA_TLS_CERT_FILE":      "use manifests/components/tls, which mounts the certificate and has KEDA speak TLS",
		"PREFECT_KEDA_TLS_KEY_FILE":       "use manifests/components/tls, which mounts the certificate and has KEDA speak TLS",
		"PREFECT_KEDA_TLS_CLIENT_CA_FILE": "use manifests/components/tls, and mount the CA there",
		"PREFECT_KEDA_TLS_CLIENT_NAMES":   "use manifests/components/mtls, which names KEDA",
		"PREFECT_KEDA_CONNECTIONS":        print + "the variables of each connection in the scaler's Deployment",
		"PREFECT_KEDA_IDLE_TIMEOUT":       print + "cooldownPeriod of the ScaledObject, which stays below it (or 0, and only KEDA removes launchers)",
		"PREFECT_KEDA_DRAIN_TIMEOUT":      print + "terminationGracePeriodSeconds of the launcher, which stays above it",
		"PREFECT_KEDA_MAX_POLLS":          "KEDA decides how long a launcher stays; for trials run prefect-keda launcher",
		"KUBECONFIG":                      "in the cluster our pods have their service accounts",
		"PREFECT_KEDA_KUBE_CONTEXT":       "in the cluster our pods have their service accounts",
		"PREFECT__SERVER__ENDPOINT":       "give --api",
		"PREFECT__SERVER__HOST":           "give --api",
		"PREFECT__SERVER__PORT":           "give --api",
		"PREFECT__CLOUD__ENDPOINT":        "give --api",
	}
}

func isWired(variable string) bool {
	_, tied := wired()[variable]
	return tied
}

// explainFlag says where to change a setting whose flag the launcher or the scaler has, but
// not install.
func explainFlag(c *cobra.Command, err error) error {
	for _, s := range allSettings() {
		if where, tied := wired()[s.Variable]; tied && err.Error() == "unknown flag: --"+s.Flag {
			return misconfigured{fmt.Errorf("--%s (%s) is not a flag of install: %s", s.Flag, s.Variable, where)}
		}
	}
	return misconfigured{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
}

// allSettings are those of both processes; what they share is there twice.
func allSettings() []config.Setting {
	return slices.Concat(config.Settings(config.Launcher{}), config.Settings(config.Scaler{}))
}

func installFlags() []config.Group {
	prefects := pflag.NewFlagSet("prefects", pflag.ContinueOnError)
	prefects.StringP("namespace", "n", install.FlowsNamespace, "namespace of the flows' Jobs; the default is made, any other has to exist")
	prefects.Bool("rbac", true, "print the Roles too; nothing works without them, so here they are the default")
	prefects.Bool("latest", false, "use the image's tag latest")
	for _, name := range agentJobFlags() {
		prefects.String(name, "", "without effect, as in the agent: set it in the run config or the Job template")
	}
	ours := pflag.NewFlagSet("ours", pflag.ContinueOnError)
	ours.String("from-worker", "", "take over the settings of a Prefect 3 worker from this file, - for standard input: what helm get manifest or helm template prints, or its Deployment as kubectl get -o yaml prints it. Other flags win")
	ours.String("from-agent", "", "take over the settings of a Prefect 1 agent from this file, - for standard input: its Deployment as kubectl get -o yaml prints it, its env block, or NAME=value lines. Other flags win")
	ours.String("image", "", "image of the scaler and the launcher, if it is in a registry of yours")
	ours.Int("runs-per-launcher", 0, "due flow runs per launcher (default 100)")
	ours.Int("max-launchers", 0, "most launchers at a time (default 10)")
	groups, all := []config.Group{{Title: "As Prefect has them", Flags: prefects}, {Title: "Manifests", Flags: ours}}, allSettings()
	for _, g := range slices.Concat(config.Flags(config.Launcher{}), config.Flags(config.Scaler{})) {
		rest := pflag.NewFlagSet(g.Title, pflag.ContinueOnError)
		g.Flags.VisitAll(func(f *pflag.Flag) {
			known := slices.ContainsFunc(groups, func(g config.Group) bool { return g.Flags.Lookup(f.Name) != nil })
			i := slices.IndexFunc(all, func(s config.Setting) bool { return s.Flag == f.Name })
			if known || i < 0 || isWired(all[i].Variable) { // i: a second name of a flag
				return
			}
			if f.Name == "key" || f.Name == "auth-string" {
				f.Usage = map[string]string{"key": "API key", "auth-string": "auth string of a Prefect 3 server"}[f.Name] +
					", printed as a Secret; - reads it from standard input, which keeps it out of the list of processes"
			}
			into := rest
			var has bool
			if f.Shorthand, has = prefectsFlags()[f.Name]; has {
				into = prefects
			}
			into.AddFlag(f)
		})
		if rest.HasFlags() {
			groups = append(groups, config.Group{Title: g.Title, Flags: rest})
		}
	}
	return groups
}
