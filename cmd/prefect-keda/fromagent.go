package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/pflag"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/install"
)

// The agent's namespace is this where nothing says another (prefect1 §5.1).
const agentNamespace = "default"

const fromEnv = "agent's env"

// readAgent reads the manifest that --from-agent names, for an installation with flags.
func readAgent(file string, stdin io.Reader, flags install.Options) (*takeover, error) {
	r, err := readFrom("agent", file, stdin, install.ReadAgent, flags)
	if err != nil {
		return nil, err
	}
	r.o.JobNamespace, r.o.NamespaceFlag = agentNamespace, "the agent's default"
	if err := errors.Join(r.environment(), r.arguments()); err != nil {
		return nil, err
	}
	r.pod()
	return r, nil
}

// environment puts every variable of the block where it belongs.
func (r *takeover) environment() error {
	set, plain := map[string]string{}, map[string]string{}
	for _, v := range r.deployed.Env {
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
	for _, v := range r.deployed.Env {
		where, tied := wired()[v.Name]
		switch {
		case slices.Contains(dead, v.Name):
			r.o.Notes = append(r.o.Notes, fmt.Sprintf("%-24s %s: left out, it had no effect in the agent either", fromEnv, v.Name))
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
	r.authorities()
	kept = slices.DeleteFunc(kept, func(name string) bool {
		return !slices.ContainsFunc(r.o.Env, func(f install.Field) bool { return f.Item["name"] == name && f.Flag == fromEnv })
	})
	if len(kept) > 0 {
		r.hint("not settings of the agent or of ours, so both processes get them as they are: %s", strings.Join(kept, ", "))
	}
	for _, item := range r.deployed.EnvFrom {
		r.o.EnvFrom = append(r.o.EnvFrom, install.Field{Item: item, Flag: "agent's envFrom"})
		r.hint("the agent's envFrom goes to both processes and wins. Its content is not read here: if it has NAMESPACE, give --namespace, and if it has the key, --key. It has to be in %s: %s",
			r.o.Home(), r.copied(item, r.o.Home()))
	}
	return errors.Join(problems...)
}

// agentAPI is true of where the API is when PREFECT__CLOUD__API does not say so.
func agentAPI(variable string) bool {
	return slices.Contains([]string{"PREFECT__SERVER__ENDPOINT", "PREFECT__SERVER__HOST", "PREFECT__SERVER__PORT", "PREFECT__CLOUD__ENDPOINT"}, variable)
}

// fromElsewhere is for variables whose value the manifest does not have.
func (r *takeover) fromElsewhere(v install.Variable) error {
	field, _ := v.From["fieldRef"].(map[string]any)
	secret, _ := v.From["secretKeyRef"].(map[string]any)
	switch {
	case v.Name == "NAMESPACE" && field["fieldPath"] == "metadata.namespace" && r.deployed.Namespace != "":
		r.set(v.Name, r.deployed.Namespace, fromEnv)
		return nil
	case v.Name == "NAMESPACE":
		r.o.JobNamespace = ""
		return nil
	case v.Name == keyVariable && secret != nil:
		return r.inSecret(v, &r.o.Key)
	case v.Name == keyVariable:
		return fmt.Errorf("--from-agent: %s is composed of other variables: give --key", v.Name)
	}
	r.keep(v)
	return nil
}

// arguments reads the agent's command line, which wins over its environment.
func (r *takeover) arguments() error {
	fs := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	for _, g := range config.Flags(config.Launcher{}) {
		fs.AddFlagSet(g.Flags)
	}
	args := r.knownArguments(fs)
	if i := slices.IndexFunc(args, install.Unknown); i >= 0 {
		return fmt.Errorf("--from-agent: the agent's argument %d (after %q) contains a value that only its shell knows: give that flag here", i+1, args[max(i-1, 0)])
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

// onDisk is true of a template that is a file and not elsewhere.
func onDisk(template string) bool { return template != "" && !strings.Contains(template, "://") }
