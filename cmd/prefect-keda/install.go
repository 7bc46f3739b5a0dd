package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/install"
	"github.com/prefect-keda/prefect-keda/location"
)

func newInstall(io streams, env environment) *cobra.Command {
	c := &cobra.Command{
		Use:   "install [flags]",
		Short: "Print manifests to pipe into kubectl, and touch nothing",
		Long: `Install prints what "kubectl apply -k manifests" would apply, with your settings in it: the namespace prefect-keda,
in it the scaler, the launcher at zero, its ScaledObject and a ConfigMap, and the flows' namespace prefect-flows with
the Roles. It takes the flags of "prefect agent kubernetes install"; comments say where each one went. KEDA has to be
installed first.

With --from-agent it takes over what an agent is told: the variables of its container, also those that come from Secrets
and ConfigMaps, and the flags in its command line. Its Jobs' namespace stays what it was:
  kubectl -n NS get deployment prefect-agent -o yaml | prefect-keda install --from-agent - | kubectl apply -f -

Of your own environment only PREFECT__BACKEND is read, as prefect does. The API key goes into a Secret, which is then
part of what is printed; give --key - to have it read from standard input and not shown in the list of processes, or
leave it out and make the Secret yourself:
  for n in prefect-keda prefect-flows; do
    kubectl -n $n create secret generic prefect-api-key --from-literal=api-key=...; done

A variable in brackets is where a flag goes in the ConfigMap, with the value it has without.`,
		Example: `  prefect-keda install --backend server --api http://prefect-apollo.prefect:4200 | kubectl apply -f -
  prefect-keda install --backend cloud --key - --label gpu --label prod --namespace flows < key.txt | kubectl apply -f -
  prefect-keda install --from-agent agent.yaml | kubectl apply -f -
  prefect-keda install -b server --image-pull-secrets registry --job-ttl 1h --max-launchers 3 > prefect-keda.yaml`,
		Args: noArgs,
		Annotations: exits(
			"the manifests are printed",
			"they cannot be written",
			"a flag is wrong, or a setting with which the processes would not start"),
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
// manifests, and what to do instead of giving a flag.
func wired() map[string]string {
	const print = "print the manifests, and change it there together with "
	return map[string]string{
		"NAMESPACE":                       "give --namespace",
		"PREFECT_KEDA_API_KEY":            "give --key, which goes into the Secret",
		"PREFECT_KEDA_API_KEY_SECRET":     print + "the secretKeyRef of both Deployments",
		"PREFECT_KEDA_OPS_LISTEN":         print + "the ports named ops and the probes",
		"PREFECT_KEDA_LISTEN":             print + "the ports named grpc, the Service, the probes and the trigger's scalerAddress",
		"PREFECT_KEDA_TLS_CERT_FILE":      "use manifests/components/tls, which mounts the certificate and has KEDA speak TLS",
		"PREFECT_KEDA_TLS_KEY_FILE":       "use manifests/components/tls, which mounts the certificate and has KEDA speak TLS",
		"PREFECT_KEDA_TLS_CLIENT_CA_FILE": "use manifests/components/tls, and mount the CA there",
		"PREFECT_KEDA_TLS_CLIENT_NAMES":   "use manifests/components/mtls, which names KEDA",
		"PREFECT_KEDA_CONNECTIONS":        print + "the variables of each connection in the scaler's Deployment",
		"PREFECT_KEDA_IDLE_TIMEOUT":       print + "cooldownPeriod of the ScaledObject, which stays below it",
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

// explainFlag says of a flag that the launcher or the scaler has, and install has
// not, where to change it.
func explainFlag(c *cobra.Command, err error) error {
	for _, s := range allSettings() {
		if where, tied := wired()[s.Variable]; tied && err.Error() == "unknown flag: --"+s.Flag {
			return misconfigured{fmt.Errorf("--%s (%s) is no flag of install: %s", s.Flag, s.Variable, where)}
		}
	}
	return misconfigured{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
}

// allSettings are those of both processes; what they share is there twice.
func allSettings() []config.Setting {
	return slices.Concat(config.Settings(config.Launcher{}), config.Settings(config.Scaler{}))
}

func installFlags() []config.Group {
	agent := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	agent.StringP("namespace", "n", install.FlowsNamespace, "namespace of the flows' Jobs, made if it is this one; our own pods stay in "+install.Namespace)
	agent.Bool("rbac", true, "print the Roles too, without which nothing works; the agent wanted to be asked for them")
	agent.Bool("latest", false, "take the image's tag latest")
	for _, name := range agentJobFlags() {
		agent.String(name, "", "without effect, as in the agent: set it in the run config or the Job template")
	}
	ours := pflag.NewFlagSet("ours", pflag.ContinueOnError)
	ours.String("from-agent", "", "take over the settings of an agent from this file, - for standard input: its Deployment as kubectl get -o yaml prints it, its env block, or NAME=value lines. Flags given besides win")
	ours.String("image", "", "image of the scaler and the launcher, to take it from a registry of yours")
	ours.Int("runs-per-launcher", 0, "how many due flow runs one launcher is for (default 100)")
	ours.Int("max-launchers", 0, "how many launchers there may be (default 10)")
	groups := []config.Group{{Title: "As prefect agent kubernetes install has them", Flags: agent}, {Title: "Manifests", Flags: ours}}
	for _, g := range slices.Concat(config.Flags(config.Launcher{}), config.Flags(config.Scaler{})) {
		rest := pflag.NewFlagSet(g.Title, pflag.ContinueOnError)
		g.Flags.VisitAll(func(f *pflag.Flag) {
			known := slices.ContainsFunc(groups, func(g config.Group) bool { return g.Flags.Lookup(f.Name) != nil })
			if known || slices.ContainsFunc(allSettings(), func(s config.Setting) bool { return s.Flag == f.Name && isWired(s.Variable) }) {
				return
			}
			if f.Name == "key" {
				f.Usage = "API key, printed as a Secret; - reads it from standard input, which keeps it out of the list of processes"
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

// installOptions reads the flags, and hints for whoever gave them. All that is
// wrong is told at once.
func installOptions(c *cobra.Command, env environment, stdin io.Reader) (install.Options, []string, error) {
	var o install.Options
	var problems []error
	fs := c.Flags()
	o.Settings = installSettings(fs)
	if i := slices.IndexFunc(o.Settings, func(s install.Setting) bool { return s.Variable == keyVariable }); i >= 0 {
		o.Key = o.Settings[i].Value
		o.Settings = slices.Delete(o.Settings, i, i+1)
	}
	file, _ := fs.GetString("from-agent")
	if o.Key == "-" {
		var err error
		if o.Key, err = keyFrom(stdin, file == "-"); err != nil {
			problems = append(problems, err)
		}
	}
	if fs.Changed("namespace") || file == "" {
		o.JobNamespace, _ = fs.GetString("namespace")
	}
	rbac, _ := fs.GetBool("rbac")
	o.WithoutRBAC = !rbac
	o.Image, _ = fs.GetString("image")
	o.Latest, _ = fs.GetBool("latest")
	problems = append(problems, checkImage(o))
	for _, number := range []struct {
		name string
		into *int
	}{{"runs-per-launcher", &o.RunsPerLauncher}, {"max-launchers", &o.MaxLaunchers}} {
		if *number.into, _ = fs.GetInt(number.name); *number.into < 1 && fs.Changed(number.name) {
			problems = append(problems, fmt.Errorf("--%s: is %d: give at least 1", number.name, *number.into))
		}
	}
	var hints []string
	if file != "" {
		agent, err := readAgent(file, stdin)
		if err != nil {
			return o, nil, misconfigured{errors.Join(append(problems, err)...)}
		}
		o = agent.override(o)
		hints = agent.hints
		env = environment{}
		if o.JobNamespace == "" {
			problems = append(problems, errors.New("--from-agent: NAMESPACE is not in the agent's manifest: give --namespace, where the flows' Jobs go"))
		}
	}
	more, problem := fillIn(c, env, &o)
	if err := errors.Join(append(problems, problem)...); err != nil {
		return o, nil, misconfigured{err}
	}
	hints = append(hints, more...)
	for _, name := range agentJobFlags() {
		if fs.Changed(name) {
			o.Notes = append(o.Notes, fmt.Sprintf("%-24s nowhere: it had no effect in the agent either", "--"+name))
			hints = append(hints, "--"+name+" has no effect, as in the agent: set it in the run config or the Job template")
		}
	}
	return o, hints, nil
}

func keyFrom(stdin io.Reader, taken bool) (string, error) {
	if taken {
		return "", errors.New("--key -: standard input is the agent's manifest already: give one of them as a file")
	}
	key, err := bufio.NewReader(stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("--key -: read standard input: %w", err)
	}
	if key = strings.TrimSpace(key); key == "" {
		return "", errors.New("--key -: standard input is empty: pipe the API key into it")
	}
	return key, nil
}

// reference is an image as a container's runtime takes it: a registry, a path, a
// tag, a digest.
var reference = regexp.MustCompile(`^([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,})?$`)

func checkImage(o install.Options) error {
	if o.Image == "" {
		return nil
	}
	if !reference.MatchString(o.Image) {
		return fmt.Errorf("--image: %q is no image: give REGISTRY/NAME:TAG, for example registry.example.com/prefect-keda:1.0", o.Image)
	}
	if name := o.Image[strings.LastIndex(o.Image, "/")+1:]; o.Latest && strings.ContainsAny(name, ":@") {
		return fmt.Errorf("--latest: %s has a tag or digest of its own: leave one of them out", o.Image)
	}
	return nil
}

// installSettings are the settings given as flags, as their variables say them.
func installSettings(fs *pflag.FlagSet) []install.Setting {
	var all []install.Setting
	for _, of := range []any{config.Launcher{}, config.Scaler{}} {
		given := config.Override(envconfig.MapLookuper(nil), of, fs)
		for _, s := range config.Settings(of) {
			text, ok := given.Lookup(s.Variable)
			if !ok || isWired(s.Variable) || slices.ContainsFunc(all, func(o install.Setting) bool { return o.Variable == s.Variable }) {
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
	for _, variable := range o.Without {
		delete(values, variable)
	}
	set := func(variable string) (string, bool) {
		i := slices.IndexFunc(o.Settings, func(s install.Setting) bool { return s.Variable == variable })
		if i < 0 {
			return "", false
		}
		return o.Settings[i].Value, true
	}
	backend, given := set("PREFECT__BACKEND")
	if !given {
		flag := "the agent's default"
		backend = string(config.Cloud)
		if env.Lookuper != nil {
			flag = "--backend"
			callers, problems := lookup(c, env, config.Launcher{})
			if problems != nil {
				return nil, fmt.Errorf("settings:\n%w", problems)
			}
			if text, _ := callers.Lookup("PREFECT__BACKEND"); text != "" {
				backend = text
			}
		}
		o.Settings = append(o.Settings, install.Setting{Variable: "PREFECT__BACKEND", Value: backend, Flag: flag})
	}
	_, api := set("PREFECT__CLOUD__API")
	if o.KeyRequired = backend == string(config.Cloud); o.KeyRequired && !api && len(o.Without) == 0 {
		o.Settings = append(o.Settings, install.Setting{Variable: "PREFECT__CLOUD__API", Value: "https://api.prefect.io", Flag: "--backend cloud"})
	}
	for _, s := range o.Settings {
		values[s.Variable] = s.Value
		if s.Variable == "IMAGE_PULL_SECRETS" {
			var names config.Names
			_ = names.UnmarshalText([]byte(s.Value)) // never fails
			o.ImagePullSecrets = names
		}
	}
	if !api && !o.KeyRequired && len(o.Without) == 0 {
		hints = append(hints, "--api is not given; taking "+values["PREFECT__CLOUD__API"])
	}
	if o.KeyRequired && o.Key == "" && o.KeySecret.Name == "" {
		namespaces := strings.Join(slices.Compact([]string{install.Namespace, o.JobNamespace}), " ")
		hints = append(hints, "--key is not given; the pods wait for: for n in "+namespaces+"; do kubectl -n $n create secret generic "+install.SecretName+" --from-literal=api-key=...; done")
	}
	if template := values["JOB_TEMPLATE"]; onDisk(template) && len(o.Mounts) == 0 {
		hints = append(hints, fmt.Sprintf("the Job template %s is a file of the launcher's pod: mount it there, for example from a ConfigMap in %s (volumes and volumeMounts of Deployment prefect-keda-launcher)", location.Shown(template), install.Namespace))
	}
	return hints, startable(c.Context(), values, *o)
}

// startable loads the settings as the two processes will.
func startable(ctx context.Context, values map[string]string, o install.Options) error {
	values = maps.Clone(values)
	if o.JobNamespace != "" {
		values["NAMESPACE"] = o.JobNamespace
	}
	if values[keyVariable] = o.Key; o.Key == "" {
		values[keyVariable] = hiddenKey
	}
	for _, f := range o.Env { // what is elsewhere is for the pods to find
		delete(values, fmt.Sprint(f.Item["name"]))
		if text, plain := f.Item["value"].(string); plain {
			values[fmt.Sprint(f.Item["name"])] = text
		}
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
	return errors.New("settings:\n" + strings.Join(problems, "\n"))
}
