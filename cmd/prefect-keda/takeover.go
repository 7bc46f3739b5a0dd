package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/prefect-keda/prefect-keda/install"
	"github.com/prefect-keda/prefect-keda/location"
)

// takeover is the result of reading the manifest of an agent or a worker: options, messages
// about them, and the known settings, by variable.
type takeover struct {
	// who is what is taken over from: agent or worker. Flag is the one that named the file.
	who, flag string
	deployed  install.Deployed
	o         install.Options
	hints     []string
	values    map[string]string
	// jobs is the namespace of its Jobs.
	jobs string
}

// readFrom reads the file that a flag names, for an installation with flags.
func readFrom(who, file string, stdin io.Reader, read func([]byte) (install.Deployed, error), flags install.Options) (*takeover, error) {
	r := &takeover{who: who, flag: "--from-" + who, o: flags, values: map[string]string{}}
	r.o.Settings, r.o.Key, r.o.Auth = nil, install.Credential{}, install.Credential{}
	text, err := contents(file, stdin)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.flag, err)
	}
	if r.deployed, err = read(text); err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.flag, file, err)
	}
	return r, nil
}

// from names a part of what is taken over, for comments: worker's env.
func (r *takeover) from(part string) string { return r.who + "'s " + part }

func (r *takeover) hint(format string, args ...any) {
	r.hints = append(r.hints, fmt.Sprintf(format, args...))
}

func (r *takeover) set(variable, value, flag string) {
	r.values[variable] = value
	switch variable {
	case "NAMESPACE":
		r.o.JobNamespace, r.o.NamespaceFlag = value, flag
	case keyVariable:
		r.o.Key = install.Credential{Value: value, Flag: flag}
	default:
		r.o.Settings = slices.DeleteFunc(r.o.Settings, func(s install.Setting) bool { return s.Variable == variable })
		r.o.Settings = append(r.o.Settings, install.Setting{Variable: variable, Value: value, Flag: flag})
	}
}

// inSecret has a credential read where a variable takes it from.
func (r *takeover) inSecret(v install.Variable, into *install.Credential) error {
	secret, _ := v.From["secretKeyRef"].(map[string]any)
	name, _ := secret["name"].(string)
	key, _ := secret["key"].(string)
	if name == "" || key == "" {
		return fmt.Errorf("%s: %s has a secretKeyRef without a name or a key: give --key", r.flag, v.Name)
	}
	*into = install.Credential{Secret: install.Secret{Name: name, Key: key}, Flag: r.from("env")}
	return nil
}

// keep gives a variable that comes from elsewhere to both processes.
func (r *takeover) keep(v install.Variable) {
	r.o.Env = append(r.o.Env, install.Field{Item: v.Item, Flag: r.from("env")})
	if advice := r.copied(v.From, r.o.Home()); advice != "" {
		r.hint("both processes read %s from there, so it has to be in %s: %s", v.Name, r.o.Home(), advice)
	}
}

// copied is how to have a Secret or ConfigMap that something refers to in another
// namespace.
func (r *takeover) copied(reference map[string]any, into string) string {
	for _, field := range []struct{ name, kind, called string }{
		{"secretKeyRef", "secret", "name"},
		{"secretRef", "secret", "name"},
		{"secret", "secret", "secretName"},
		{"configMapKeyRef", "configmap", "name"},
		{"configMapRef", "configmap", "name"},
		{"configMap", "configmap", "name"},
	} {
		if of, ok := reference[field.name].(map[string]any); ok {
			return copyCommand(r.deployed.Namespace, field.kind, fmt.Sprint(of[field.called]), into)
		}
	}
	return ""
}

func copyCommand(from, kind, name, into string) string {
	return fmt.Sprintf("kubectl -n %s get %s %s -o yaml | sed -E '/^  (uid|resourceVersion):/d; s/^  namespace: .*/  namespace: %s/' | kubectl apply -f -", cmp.Or(from, "NAMESPACE"), kind, name, into)
}

// knownArguments are those that fs has; the others are named, with what looks
// like their value.
func (r *takeover) knownArguments(fs *pflag.FlagSet) []string {
	var known []string
	for args := r.deployed.Args; len(args) > 0; args = args[1:] {
		name, _, hasValue := strings.Cut(args[0], "=")
		long, isLong := strings.CutPrefix(name, "--")
		flag := fs.Lookup(long)
		if !isLong && len(name) > 1 && name[0] == '-' {
			flag = fs.ShorthandLookup(name[1:2])
			hasValue = hasValue || len(args[0]) > len("-n")
		}
		switch {
		case !strings.HasPrefix(name, "-"):
			r.hint("the %s's argument %q is unknown and left out", r.who, location.Shown(name))
		case flag == nil:
			r.hint("the %s's %s is unknown and left out", r.who, name)
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

// override puts flags given here in front of what was taken over.
func (r *takeover) override(flags install.Options) install.Options {
	for _, s := range flags.Settings {
		r.set(s.Variable, s.Value, s.Flag)
	}
	if flags.Key != (install.Credential{}) {
		r.o.Key = flags.Key
	}
	if flags.Auth != (install.Credential{}) {
		r.o.Auth = flags.Auth
	}
	r.jobs = r.o.JobNamespace
	if flags.JobNamespace != "" {
		r.o.JobNamespace, r.o.NamespaceFlag = flags.JobNamespace, "--namespace"
	}
	r.pullSecrets()
	if len(flags.FurtherNamespaces) > 0 {
		r.o.FurtherNamespaces = flags.FurtherNamespaces
	}
	r.secretsThere("API key", r.o.Key.Secret.Name)
	r.secretsThere("auth string", r.o.Auth.Secret.Name)
	if r.values["PREFECT__CLOUD__API"] == "" && slices.ContainsFunc(slices.Collect(maps.Keys(r.values)), agentAPI) {
		r.o.Without = []string{"PREFECT__CLOUD__API"}
	}
	return r.o
}

// secretsThere says how a credential's Secret gets to where pods read it.
func (r *takeover) secretsThere(what, secret string) {
	if secret == "" {
		return
	}
	for _, into := range slices.Compact(append([]string{r.o.Home(), r.o.JobNamespace}, r.o.FurtherNamespaces...)) {
		if into != r.deployed.Namespace {
			r.hint("our pods and the flows' pods read the %s from Secret %s, so it has to be in %s: %s", what, secret, into, copyCommand(r.deployed.Namespace, "secret", secret, into))
		}
	}
}
