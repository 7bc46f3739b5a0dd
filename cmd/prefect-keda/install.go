package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/install"
)

func newInstall(io streams, env environment) *cobra.Command {
	c := &cobra.Command{
		Use:   "install [flags]",
		Short: "Print manifests to pipe into kubectl, and touch nothing",
		Long: `Install prints what "kubectl apply -k manifests" would apply, with your settings in it: the namespace prefect-keda, the
scaler, the launcher at zero, its ScaledObject, their Roles and a ConfigMap. It takes the flags of "prefect agent
kubernetes install"; comments say where each one went. KEDA has to be installed first.

Of your own environment only PREFECT__BACKEND is read, as prefect does. The API key goes into a Secret, which is then
part of what is printed; give --key - to have it read from standard input and not shown in the list of processes, or
leave it out and make the Secret yourself:
  kubectl -n prefect-keda create secret generic prefect-api-key --from-literal=api-key=...

A variable in brackets is where a flag goes in the ConfigMap, with the value it has without.`,
		Example: `  prefect-keda install --backend server --api http://prefect-apollo.prefect:4200 | kubectl apply -f -
  prefect-keda install --backend cloud --key - --label gpu --label prod --namespace flows < key.txt | kubectl apply -f -
  prefect-keda install -b server --image-pull-secrets registry --job-ttl 1h --max-launchers 3 > prefect-keda.yaml`,
		Args: noArgs,
		Annotations: exits(
			"the manifests are printed",
			"they cannot be written",
			"a flag is wrong, or a setting with which the processes would not start"),
	}
	addFlags(c)
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

// agentInstallFlags are those of `prefect agent kubernetes install` that are
// settings, with its short forms: -n is a name for start and a namespace for
// install.
func agentInstallFlags() map[string]string {
	return map[string]string{
		"key": "k", "tenant-id": "", "label": "l", "env": "e", "agent-config-id": "", "api": "a",
		"image-pull-secrets": "i", "service-account-name": "", "backend": "b",
	}
}

// agentJobFlags are those that the agent has and never read (prefect1-spec §5.4).
func agentJobFlags() []string {
	return []string{"mem-request", "mem-limit", "cpu-request", "cpu-limit", "image-pull-policy"}
}

// wired are variables whose value hangs together with other fields of the
// manifests; who changes them edits those.
func wired() []string {
	return []string{
		"NAMESPACE", "PREFECT_KEDA_API_KEY", "PREFECT_KEDA_API_KEY_SECRET", "PREFECT_KEDA_OPS_LISTEN", "PREFECT_KEDA_LISTEN", "PREFECT__CLOUD__AGENT__AGENT_ADDRESS",
		"PREFECT_KEDA_TLS_CERT_FILE", "PREFECT_KEDA_TLS_KEY_FILE", "PREFECT_KEDA_TLS_CLIENT_CA_FILE", "PREFECT_KEDA_CONNECTIONS",
		"PREFECT_KEDA_IDLE_TIMEOUT", "PREFECT_KEDA_DRAIN_TIMEOUT", "PREFECT_KEDA_MAX_POLLS", "KUBECONFIG", "PREFECT_KEDA_KUBE_CONTEXT",
		"PREFECT__SERVER__ENDPOINT", "PREFECT__SERVER__HOST", "PREFECT__SERVER__PORT", "PREFECT__CLOUD__ENDPOINT",
	}
}

// allSettings are those of both processes; what they share is there twice.
func allSettings() []config.Setting {
	return slices.Concat(config.Settings(config.Launcher{}), config.Settings(config.Scaler{}))
}

func installFlags() []config.Group {
	agent := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	agent.StringP("namespace", "n", install.Namespace, "namespace of the flows' Jobs; our own pods stay in "+install.Namespace)
	agent.Bool("rbac", true, "print the Roles too, without which nothing works; the agent wanted to be asked for them")
	agent.Bool("latest", false, "take the image's tag latest")
	for _, name := range agentJobFlags() {
		agent.String(name, "", "without effect, as in the agent: set it in the run config or the Job template")
	}
	ours := pflag.NewFlagSet("ours", pflag.ContinueOnError)
	ours.String("image", "", "image of the scaler and the launcher, to take it from a registry of yours")
	ours.Int("runs-per-launcher", 0, "how many due flow runs one launcher is for (default 100)")
	ours.Int("max-launchers", 0, "how many launchers there may be (default 10)")
	groups := []config.Group{{Title: "As prefect agent kubernetes install has them", Flags: agent}, {Title: "Manifests", Flags: ours}}
	for _, g := range slices.Concat(config.Flags(config.Launcher{}), config.Flags(config.Scaler{})) {
		rest := pflag.NewFlagSet(g.Title, pflag.ContinueOnError)
		g.Flags.VisitAll(func(f *pflag.Flag) {
			known := slices.ContainsFunc(groups, func(g config.Group) bool { return g.Flags.Lookup(f.Name) != nil })
			if known || slices.ContainsFunc(allSettings(), func(s config.Setting) bool { return s.Flag == f.Name && slices.Contains(wired(), s.Variable) }) {
				return
			}
			into := rest
			var agents bool
			if f.Shorthand, agents = agentInstallFlags()[f.Name]; agents {
				into = agent
			}
			into.AddFlag(f)
		})
		if rest.HasFlags() {
			groups = append(groups, config.Group{Title: g.Title, Flags: rest})
		}
	}
	return groups
}

// installOptions reads the flags, and hints for whoever gave them.
func installOptions(c *cobra.Command, env environment, stdin io.Reader) (install.Options, []string, error) {
	var o install.Options
	fs := c.Flags()
	o.Settings = installSettings(fs)
	if i := slices.IndexFunc(o.Settings, func(s install.Setting) bool { return s.Variable == keyVariable }); i >= 0 {
		o.Key = o.Settings[i].Value
		o.Settings = slices.Delete(o.Settings, i, i+1)
	}
	var err error
	if o.Key == "-" {
		if o.Key, err = bufio.NewReader(stdin).ReadString('\n'); err != nil && !errors.Is(err, io.EOF) {
			return o, nil, misconfigured{fmt.Errorf("--key -: read standard input: %w", err)}
		}
		if o.Key = strings.TrimSpace(o.Key); o.Key == "" {
			return o, nil, misconfigured{errors.New("--key -: standard input is empty: pipe the API key into it")}
		}
	}
	o.JobNamespace, _ = fs.GetString("namespace")
	o.Image, _ = fs.GetString("image")
	o.Latest, _ = fs.GetBool("latest")
	rbac, _ := fs.GetBool("rbac")
	o.WithoutRBAC = !rbac
	for name, into := range map[string]*int{"runs-per-launcher": &o.RunsPerLauncher, "max-launchers": &o.MaxLaunchers} {
		if *into, _ = fs.GetInt(name); *into < 1 && fs.Changed(name) {
			return o, nil, misconfigured{fmt.Errorf("--%s: is %d: give at least 1", name, *into)}
		}
	}
	hints, err := fillIn(c, env, &o)
	if err != nil {
		return o, nil, err
	}
	for _, name := range agentJobFlags() {
		if fs.Changed(name) {
			o.Notes = append(o.Notes, fmt.Sprintf("%-24s nowhere: it had no effect in the agent either", "--"+name))
			hints = append(hints, "--"+name+" has no effect, as in the agent: set it in the run config or the Job template")
		}
	}
	return o, hints, nil
}

// installSettings are the settings given as flags, as their variables say them.
func installSettings(fs *pflag.FlagSet) []install.Setting {
	var all []install.Setting
	for _, of := range []any{config.Launcher{}, config.Scaler{}} {
		given := config.Override(envconfig.MapLookuper(nil), of, fs)
		for _, s := range config.Settings(of) {
			text, ok := given.Lookup(s.Variable)
			if !ok || slices.Contains(wired(), s.Variable) || slices.ContainsFunc(all, func(o install.Setting) bool { return o.Variable == s.Variable }) {
				continue
			}
			all = append(all, install.Setting{Variable: s.Variable, Value: text, Flag: "--" + s.Flag})
		}
	}
	return all
}

// fillIn adds what follows from the backend and checks that both processes would
// start with all that.
func fillIn(c *cobra.Command, env environment, o *install.Options) (hints []string, err error) {
	values, err := install.Defaults()
	if err != nil {
		return nil, err
	}
	given, problems := lookup(c, env, config.Launcher{})
	if err := wrongSettings(problems); err != nil {
		return nil, err
	}
	backend, _ := given.Lookup("PREFECT__BACKEND")
	if backend == "" {
		backend = string(config.Cloud)
	}
	follows := []install.Setting{{Variable: "PREFECT__BACKEND", Value: backend, Flag: "--backend"}}
	if backend == string(config.Cloud) {
		follows = append(follows, install.Setting{Variable: "PREFECT__CLOUD__API", Value: "https://api.prefect.io", Flag: "--backend cloud"})
	}
	for _, f := range follows {
		if !slices.ContainsFunc(o.Settings, func(s install.Setting) bool { return s.Variable == f.Variable }) {
			o.Settings = append(o.Settings, f)
		}
	}
	o.KeyRequired = backend == string(config.Cloud)
	for _, s := range o.Settings {
		values[s.Variable] = s.Value
		if s.Variable == "IMAGE_PULL_SECRETS" {
			var names config.Names
			_ = names.UnmarshalText([]byte(s.Value)) // never fails
			o.ImagePullSecrets = names
		}
	}
	if !c.Flags().Changed("api") && !o.KeyRequired {
		hints = append(hints, "--api is not given; taking "+values["PREFECT__CLOUD__API"])
	}
	if o.KeyRequired && o.Key == "" {
		for _, namespace := range slices.Compact([]string{install.Namespace, o.JobNamespace}) {
			hints = append(hints, "--key is not given; the pods wait for: kubectl -n "+namespace+" create secret generic "+install.SecretName+" --from-literal=api-key=...")
		}
	}
	return hints, startable(c.Context(), values, *o)
}

// startable loads the settings as the two processes will.
func startable(ctx context.Context, values map[string]string, o install.Options) error {
	values = maps.Clone(values)
	values["NAMESPACE"] = o.JobNamespace
	if values[keyVariable] = o.Key; o.KeyRequired && o.Key == "" {
		values[keyVariable] = hiddenKey
	}
	env := config.Environment(envconfig.MapLookuper(values))
	_, launcher := config.LoadLauncher(ctx, env)
	_, scaler := config.LoadScaler(ctx, env)
	if launcher == nil && scaler == nil {
		return nil
	}
	var problems []string
	for problem := range strings.Lines(fmt.Sprint(errors.Join(launcher, scaler))) {
		if problem = strings.TrimSpace(problem); !slices.Contains(problems, problem) {
			problems = append(problems, problem)
		}
	}
	return misconfigured{errors.New("settings:\n" + strings.Join(problems, "\n"))}
}
