package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/install"
)

// installing gathers what an installation's flags say. Its problems are all mistakes, its
// hints what a person should know.
type installing struct {
	c        *cobra.Command
	fs       *pflag.FlagSet
	kind     config.Kind
	o        install.Options
	hints    []string
	problems []error
}

// installOptions reads the flags, and returns hints about them. Its error names all mistakes.
func installOptions(c *cobra.Command, env environment, stdin io.Reader) (install.Options, []string, error) {
	i := &installing{c: c, fs: c.Flags()}
	agent, _ := i.fs.GetString("from-agent")
	worker, _ := i.fs.GetString("from-worker")
	if agent != "" && worker != "" {
		return i.o, nil, misconfigured{errors.New("--from-agent, --from-worker: give one of them at a time, each with its own install")}
	}
	i.choose(agent, worker)
	i.settings()
	i.credentials(stdin, agent == "-" || worker == "-")
	i.manifests(agent == "" && worker == "")
	if agent != "" || worker != "" {
		if err := i.takeOver(agent, worker, stdin); err != nil {
			return i.o, nil, misconfigured{errors.Join(append(i.problems, err)...)}
		}
		env = environment{}
	}
	if i.kind == config.Prefect3 {
		i.problem(i.fillIn3())
	} else {
		i.problem(i.fillIn1(env))
	}
	if err := errors.Join(i.problems...); err != nil {
		return i.o, nil, misconfigured{err}
	}
	for _, name := range agentJobFlags() {
		if i.fs.Changed(name) {
			i.o.Notes = append(i.o.Notes, fmt.Sprintf("%-24s left out: it had no effect in the agent either", "--"+name))
			i.hint("--%s has no effect, as in the agent: set it in the run config or the Job template", name)
		}
	}
	return i.o, i.hints, nil
}

func (i *installing) hint(format string, args ...any) {
	i.hints = append(i.hints, fmt.Sprintf(format, args...))
}

// problem adds a mistake, once: both processes have some settings.
func (i *installing) problem(err error) {
	if err != nil && !slices.ContainsFunc(i.problems, func(p error) bool { return p.Error() == err.Error() }) {
		i.problems = append(i.problems, err)
	}
}

// choose finds out which Prefect it is for. If no other flag tells, the URL does: only that
// of Prefect 3 ends with /api.
func (i *installing) choose(agent, worker string) {
	given := config.Override(config.Override(envconfig.MapLookuper(nil), config.Launcher{}, i.fs), config.Scaler{}, i.fs)
	kind, err := config.KindOf(given)
	url, _ := i.fs.GetString("api")
	looksLike3 := strings.HasSuffix(strings.TrimRight(url, "/"), "/api") || strings.Contains(url, "/api/accounts/")
	switch {
	case worker != "":
		kind = config.Prefect3
	case agent != "" || i.fs.Changed("backend") || i.fs.Changed("prefect"):
		i.problem(err)
	case looksLike3:
		kind = config.Prefect3
	}
	i.kind = kind
}

// settings are those given as flags, as the variables of the kind say them.
func (i *installing) settings() {
	for _, of := range []any{config.Launcher{}, config.Scaler{}} {
		given := config.Override(envconfig.MapLookuper(nil), of, i.fs)
		for _, s := range config.Settings(of) {
			variable := s.For(i.kind)
			text, ok := given.Lookup(s.Variable)
			if !ok || isWired(s.Variable) || slices.ContainsFunc(i.o.Settings, func(o install.Setting) bool { return o.Variable == variable }) {
				continue
			}
			if s.Only != "" && s.Only != i.kind {
				i.problem(fmt.Errorf("--%s is for %s, and this installation is for %s: leave it out, or choose by --prefect", s.Flag, s.Only, i.kind))
				continue
			}
			i.o.Settings = append(i.o.Settings, install.Setting{Variable: variable, Value: text, Flag: "--" + s.Flag})
		}
	}
	i.o.Namespace, _ = i.without(homeVariable)
	if text, given := i.value(namespacesVariable); given {
		var names config.Names
		_ = names.UnmarshalText([]byte(text)) // startable finds the same
		i.o.FurtherNamespaces = names
	}
}

// value is the text of a setting.
func (i *installing) value(variable string) (string, bool) {
	at := slices.IndexFunc(i.o.Settings, func(s install.Setting) bool { return s.Variable == variable })
	if at < 0 {
		return "", false
	}
	return i.o.Settings[at].Value, true
}

// without takes a setting out that is not for the ConfigMap.
func (i *installing) without(variable string) (string, bool) {
	text, given := i.value(variable)
	i.o.Settings = slices.DeleteFunc(i.o.Settings, func(s install.Setting) bool { return s.Variable == variable })
	return text, given
}

// credentials are for Secrets: printed, or named.
func (i *installing) credentials(stdin io.Reader, taken bool) {
	key := keyVariable
	if i.kind == config.Prefect3 {
		key = keyVariable3
	}
	for _, c := range []struct {
		variable, flag string
		into           *install.Credential
	}{{key, "--key", &i.o.Key}, {authVariable, "--auth-string", &i.o.Auth}} {
		text, given := i.without(c.variable)
		if text == "-" {
			var err error
			text, err = keyFrom(c.flag, stdin, taken)
			i.problem(err)
			taken = true
		}
		if given {
			*c.into = install.Credential{Value: text, Flag: c.flag}
		}
	}
	for _, c := range []struct {
		variable, flag string
		into           *install.Credential
	}{{"PREFECT_KEDA_API_KEY_SECRET", "--api-key-secret", &i.o.Key}, {"PREFECT_KEDA_API_AUTH_STRING_SECRET", "--auth-string-secret", &i.o.Auth}} {
		text, given := i.without(c.variable)
		if !given {
			continue
		}
		var secret config.SecretKey
		if err := secret.UnmarshalText([]byte(text)); err != nil {
			i.problem(fmt.Errorf("%s: %w", c.flag, err))
		} else if c.into.Value != "" {
			i.problem(fmt.Errorf("%s: there is %s too: give one of them", c.flag, c.into.Flag))
		}
		*c.into = install.Credential{Secret: install.Secret(secret), Flag: c.flag}
	}
}

// manifests are the flags that are no settings. Alone is true where nothing is taken over.
func (i *installing) manifests(alone bool) {
	if i.fs.Changed("namespace") || alone {
		i.o.JobNamespace, _ = i.fs.GetString("namespace")
	}
	rbac, _ := i.fs.GetBool("rbac")
	i.o.WithoutRBAC = !rbac
	i.o.Image, _ = i.fs.GetString("image")
	i.o.Latest, _ = i.fs.GetBool("latest")
	i.problem(checkImage(i.o))
	for _, number := range []struct {
		name string
		into *int
	}{{"runs-per-launcher", &i.o.RunsPerLauncher}, {"max-launchers", &i.o.MaxLaunchers}} {
		if *number.into, _ = i.fs.GetInt(number.name); *number.into < 1 && i.fs.Changed(number.name) {
			i.problem(fmt.Errorf("--%s: is %d: give at least 1", number.name, *number.into))
		}
	}
}

// takeOver reads the manifest of an agent or a worker.
func (i *installing) takeOver(agent, worker string, stdin io.Reader) error {
	read, file := readAgent, agent
	if worker != "" {
		read, file = readWorker, worker
	}
	taken, err := read(file, stdin, i.o)
	if err != nil {
		return err
	}
	i.o = taken.override(i.o)
	i.hints = taken.hints
	if i.o.JobNamespace == "" {
		i.problem(fmt.Errorf("%s: the namespace of the flows' Jobs is not in the %s's manifest: give --namespace", taken.flag, taken.who))
	}
	return nil
}

func keyFrom(flag string, stdin io.Reader, taken bool) (string, error) {
	if taken {
		return "", fmt.Errorf("%s -: standard input is taken already: give one of the two as a file or a Secret", flag)
	}
	key, err := bufio.NewReader(stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("%s -: read standard input: %w", flag, err)
	}
	if key = strings.TrimSpace(key); key == "" {
		return "", fmt.Errorf("%s -: standard input is empty: pipe the key into it", flag)
	}
	return key, nil
}

func checkImage(o install.Options) error {
	if o.Image == "" {
		return nil
	}
	// As a container's runtime takes it: a registry, a path, a tag, a digest.
	reference := regexp.MustCompile(`^([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,})?$`)
	if !reference.MatchString(o.Image) {
		return fmt.Errorf("--image: %q is not an image: give REGISTRY/NAME:TAG, for example registry.example.com/prefect-keda:1.0", o.Image)
	}
	if name := o.Image[strings.LastIndex(o.Image, "/")+1:]; o.Latest && strings.ContainsAny(name, ":@") {
		return fmt.Errorf("--latest: %s has a tag or digest of its own: leave one of them out", o.Image)
	}
	return nil
}
