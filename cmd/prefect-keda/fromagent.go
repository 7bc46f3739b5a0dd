package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/pflag"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/install"
	"github.com/prefect-keda/prefect-keda/location"
)

// The agent's namespace is this where nothing says another (prefect1-spec §5.1).
const agentNamespace = "default"

const fromEnv = "agent's env"

// agentRead is what an agent's manifest comes to: options, what is to be said
// about them, and the settings that are known, by variable.
type agentRead struct {
	agent  install.Agent
	o      install.Options
	hints  []string
	values map[string]string
}

// readAgent reads the manifest that --from-agent names.
func readAgent(file string, stdin io.Reader) (*agentRead, error) {
	text, err := contents(file, stdin)
	if err != nil {
		return nil, fmt.Errorf("--from-agent: %w", err)
	}
	agent, err := install.ReadAgent(text)
	if err != nil {
		return nil, fmt.Errorf("--from-agent %s: %w", file, err)
	}
	r := &agentRead{agent: agent, values: map[string]string{}}
	r.o.JobNamespace, r.o.NamespaceFlag = agentNamespace, "the agent's default"
	if err := errors.Join(r.environment(), r.arguments()); err != nil {
		return nil, err
	}
	r.template()
	return r, nil
}

func (r *agentRead) hint(format string, args ...any) {
	r.hints = append(r.hints, fmt.Sprintf(format, args...))
}

func (r *agentRead) note(flag, place string) {
	r.o.Notes = append(r.o.Notes, fmt.Sprintf("%-24s %s", flag, place))
}

// environment puts every variable of the block where it belongs.
func (r *agentRead) environment() error {
	set, plain := map[string]string{}, map[string]string{}
	for _, v := range r.agent.Env {
		if set[v.Name] = v.Value; v.From == nil {
			plain[v.Name] = v.Value
		} else {
			set[v.Name] = "from elsewhere"
		}
	}
	dead := config.Ignored(envconfig.MapLookuper(set))
	known := map[string]bool{}
	for _, s := range allSettings() {
		known[s.Variable] = true
	}
	var kept []string
	var problems []error
	for _, v := range r.agent.Env {
		where, tied := wired()[v.Name]
		switch {
		case slices.Contains(dead, v.Name):
			r.note(fromEnv, v.Name+": nowhere, it had no effect in the agent either")
		case v.From != nil:
			problems = append(problems, r.fromElsewhere(v))
		case v.Value == "" && v.Name != "DELETE_FINISHED_JOBS": // for this one nothing says something
		case v.Name == keyVariable:
			// In a Secret nobody reads it as Prefect does: $NAME is replaced now.
			key, _ := config.Environment(envconfig.MapLookuper(plain)).Lookup(keyVariable)
			r.set(v.Name, key, fromEnv)
		case v.Name == "NAMESPACE" || agentAPI(v.Name):
			r.set(v.Name, v.Value, fromEnv)
		case tied:
			r.hint("%s is left out: %s", v.Name, where)
		case known[v.Name]:
			r.set(v.Name, v.Value, fromEnv)
		default:
			kept = append(kept, v.Name)
			r.o.Env = append(r.o.Env, install.Field{Item: v.Item, Flag: fromEnv})
		}
	}
	if len(dead) > 0 {
		r.hint("without effect, as in the agent, and left out: %s", strings.Join(dead, ", "))
	}
	if len(kept) > 0 {
		r.hint("neither the agent's settings nor ours, and given to both processes as they are: %s", strings.Join(kept, ", "))
	}
	for _, item := range r.agent.EnvFrom {
		r.o.EnvFrom = append(r.o.EnvFrom, install.Field{Item: item, Flag: "agent's envFrom"})
		r.hint("the agent's envFrom goes to both processes and wins; what is in it is not read here: if NAMESPACE is, give --namespace, and if the key is, --key. It has to be in %s: %s",
			install.Namespace, r.copied(item, install.Namespace))
	}
	return errors.Join(problems...)
}

// agentAPI is true of where the API is when PREFECT__CLOUD__API does not say so.
func agentAPI(variable string) bool {
	return slices.Contains([]string{"PREFECT__SERVER__ENDPOINT", "PREFECT__SERVER__HOST", "PREFECT__SERVER__PORT", "PREFECT__CLOUD__ENDPOINT"}, variable)
}

// set takes a setting; a later one of the same variable replaces it.
func (r *agentRead) set(variable, value, flag string) {
	r.values[variable] = value
	switch variable {
	case "NAMESPACE":
		r.o.JobNamespace, r.o.NamespaceFlag = value, flag
	case keyVariable:
		r.o.Key, r.o.KeyFlag, r.o.KeySecret = value, flag, install.Secret{}
	default:
		r.o.Settings = slices.DeleteFunc(r.o.Settings, func(s install.Setting) bool { return s.Variable == variable })
		r.o.Settings = append(r.o.Settings, install.Setting{Variable: variable, Value: value, Flag: flag})
	}
}

// fromElsewhere is for variables whose value the manifest does not have.
func (r *agentRead) fromElsewhere(v install.Variable) error {
	field, _ := v.From["fieldRef"].(map[string]any)
	secret, _ := v.From["secretKeyRef"].(map[string]any)
	switch {
	case v.Name == "NAMESPACE" && field["fieldPath"] == "metadata.namespace" && r.agent.Namespace != "":
		r.set(v.Name, r.agent.Namespace, fromEnv)
		return nil
	case v.Name == "NAMESPACE":
		r.o.JobNamespace = ""
		return nil
	case v.Name == keyVariable && secret != nil:
		name, _ := secret["name"].(string)
		key, _ := secret["key"].(string)
		if name == "" || key == "" {
			return fmt.Errorf("--from-agent: %s has a secretKeyRef without a name or a key: give --key", v.Name)
		}
		r.o.KeySecret, r.o.KeyFlag = install.Secret{Name: name, Key: key}, fromEnv
		return nil
	case v.Name == keyVariable:
		return fmt.Errorf("--from-agent: %s is made of other variables: give --key", v.Name)
	}
	r.o.Env = append(r.o.Env, install.Field{Item: v.Item, Flag: fromEnv})
	if advice := r.copied(v.From, install.Namespace); advice != "" {
		r.hint("%s is read from there by both processes, so it has to be in %s: %s", v.Name, install.Namespace, advice)
	}
	return nil
}

// copied is how to have a Secret or ConfigMap that something refers to in another
// namespace.
func (r *agentRead) copied(reference map[string]any, into string) string {
	for _, field := range []struct{ name, kind, called string }{
		{"secretKeyRef", "secret", "name"},
		{"secretRef", "secret", "name"},
		{"secret", "secret", "secretName"},
		{"configMapKeyRef", "configmap", "name"},
		{"configMapRef", "configmap", "name"},
		{"configMap", "configmap", "name"},
	} {
		if of, ok := reference[field.name].(map[string]any); ok {
			return r.copyCommand(field.kind, fmt.Sprint(of[field.called]), into)
		}
	}
	return ""
}

func (r *agentRead) copyCommand(kind, name, into string) string {
	from := r.agent.Namespace
	if from == "" {
		from = "NAMESPACE"
	}
	return fmt.Sprintf("kubectl -n %s get %s %s -o yaml | sed -E '/^  (uid|resourceVersion):/d; s/^  namespace: .*/  namespace: %s/' | kubectl apply -f -", from, kind, name, into)
}

// arguments reads the agent's command line, which wins over its environment.
func (r *agentRead) arguments() error {
	fs := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	for _, g := range config.Flags(config.Launcher{}) {
		fs.AddFlagSet(g.Flags)
	}
	args := r.knownArguments(fs)
	if i := slices.IndexFunc(args, install.Unknown); i >= 0 {
		return fmt.Errorf("--from-agent: the agent's argument %d (after %q) holds what only its shell knows: give that flag here", i+1, args[max(i-1, 0)])
	}
	if err := fs.Parse(args); err != nil {
		return fmt.Errorf("--from-agent: the agent's command line: %w", err)
	}
	given := config.Override(envconfig.MapLookuper(nil), config.Launcher{}, fs)
	for _, s := range config.Settings(config.Launcher{}) {
		text, ok := given.Lookup(s.Variable)
		if !ok || text == "" || s.Variable == secretKeyVariable {
			continue
		}
		if where, tied := wired()[s.Variable]; tied && s.Variable != "NAMESPACE" && s.Variable != keyVariable && !agentAPI(s.Variable) {
			r.hint("the agent's --%s is left out: %s", s.Flag, where)
			continue
		}
		r.set(s.Variable, text, "agent's --"+s.Flag)
	}
	return nil
}

// knownArguments are those that fs has; the others are named, with what looks
// like their value.
func (r *agentRead) knownArguments(fs *pflag.FlagSet) []string {
	var known []string
	for args := r.agent.Args; len(args) > 0; args = args[1:] {
		name, _, hasValue := strings.Cut(args[0], "=")
		long, isLong := strings.CutPrefix(name, "--")
		flag := fs.Lookup(long)
		if !isLong && len(name) > 1 && name[0] == '-' {
			flag = fs.ShorthandLookup(name[1:2])
			hasValue = hasValue || len(args[0]) > len("-n")
		}
		switch {
		case !strings.HasPrefix(name, "-"):
			r.hint("the agent's argument %q is none that is known, and left out", location.Shown(name))
		case flag == nil:
			r.hint("the agent's %s is none that is known, and left out", name)
			if !hasValue && len(args) > 1 && !strings.HasPrefix(args[1], "-") {
				args = args[1:]
			}
		default:
			known = append(known, args[0])
			if !hasValue && flag.NoOptDefVal == "" && len(args) > 1 {
				args = args[1:]
				known = append(known, args[0])
			}
		}
	}
	return known
}

// template takes over what the agent had its Job template mounted from.
func (r *agentRead) template() {
	file := r.values["JOB_TEMPLATE"]
	if !onDisk(file) {
		return
	}
	mount, volume, found := r.agent.Mounted(file)
	if !found {
		return
	}
	const flag = "for JOB_TEMPLATE"
	r.o.Mounts = []install.Field{{Item: mount, Flag: flag}}
	r.o.Volumes = []install.Field{{Item: volume, Flag: flag}}
	if advice := r.copied(volume, install.Namespace); advice != "" {
		r.hint("the Job template is mounted as in the agent, so it has to be in %s: %s", install.Namespace, advice)
	}
}

// onDisk is true of a template that is a file and not elsewhere.
func onDisk(template string) bool { return template != "" && !strings.Contains(template, "://") }

// override puts flags given here in front of what the agent had.
func (r *agentRead) override(o install.Options) install.Options {
	for _, s := range o.Settings {
		r.set(s.Variable, s.Value, s.Flag)
	}
	r.o.Settings = slices.Clone(r.o.Settings)
	if o.Key != "" {
		r.set(keyVariable, o.Key, "--key")
	}
	if o.JobNamespace != "" {
		r.o.JobNamespace, r.o.NamespaceFlag = o.JobNamespace, "--namespace"
	}
	if r.o.KeySecret.Name != "" {
		for _, into := range slices.Compact([]string{install.Namespace, r.o.JobNamespace}) {
			if into != r.agent.Namespace {
				r.hint("the API key is read from Secret %s, by the flows' pods too, so it has to be in %s: %s", r.o.KeySecret.Name, into, r.copyCommand("secret", r.o.KeySecret.Name, into))
			}
		}
	}
	o.Settings, o.Key, o.KeyFlag, o.KeySecret = r.o.Settings, r.o.Key, r.o.KeyFlag, r.o.KeySecret
	o.JobNamespace, o.NamespaceFlag = r.o.JobNamespace, r.o.NamespaceFlag
	o.Env, o.EnvFrom, o.Volumes, o.Mounts = r.o.Env, r.o.EnvFrom, r.o.Volumes, r.o.Mounts
	o.Notes = append(o.Notes, r.o.Notes...)
	if r.values["PREFECT__CLOUD__API"] == "" && slices.ContainsFunc(slices.Collect(maps.Keys(r.values)), agentAPI) {
		o.Without = []string{"PREFECT__CLOUD__API"}
	}
	return o
}
