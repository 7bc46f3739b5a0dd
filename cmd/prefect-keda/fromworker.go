package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/pflag"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/install"
	"github.com/prefect-keda/prefect-keda/literal"
)

const (
	ofKubernetes       = "PREFECT_INTEGRATIONS_KUBERNETES_"
	observerNamespaces = ofKubernetes + "OBSERVER_NAMESPACES"
)

// workerFlag is a flag of `prefect worker start`: the setting that it becomes, or why it has
// no effect here.
type workerFlag struct {
	name, short string
	bare        bool
	variable    string
	why         string
}

// workerFlags are all that `prefect worker start` has.
func workerFlags() []workerFlag {
	return []workerFlag{
		{name: "name", short: "n", variable: "PREFECT_KEDA_WORKER_NAME"},
		{name: "pool", short: "p", variable: "PREFECT_KEDA_WORK_POOLS"},
		{name: "work-queue", short: "q", variable: "PREFECT_KEDA_WORK_QUEUES"},
		{name: "limit", short: "l", variable: "PREFECT_KEDA_CONCURRENCY"},
		{name: "prefetch-seconds", variable: "PREFECT_WORKER_PREFETCH_SECONDS"},
		{name: "type", short: "t"}, // only kubernetes is taken
		{name: "run-once", bare: true, why: "KEDA decides how long a launcher stays"},
		{name: "with-healthcheck", bare: true, why: "launcher and scaler always serve /livez"},
		{name: "install-policy", why: "there is no worker type to install"},
		{name: "base-job-template", why: "work pools keep the template that they have"},
		{name: "create-pool-if-not-found", bare: true, why: notCreated},
		{name: "no-create-pool-if-not-found", bare: true, why: notCreated},
	}
}

const notCreated = "we create no work pool: prefect work-pool create NAME --type kubernetes does"

// readWorker reads the manifest that --from-worker names, for an installation with flags.
func readWorker(file string, stdin io.Reader, flags install.Options) (*takeover, error) {
	r, err := readFrom("worker", file, stdin, install.ReadWorker, flags)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(r.workersEnvironment(), r.workersArguments()); err != nil {
		return nil, err
	}
	r.workersNamespaces()
	r.baseJobTemplate()
	r.pod()
	return r, nil
}

// workersEnvironment puts every variable of the worker where it belongs.
func (r *takeover) workersEnvironment() error {
	set := map[string]string{}
	for _, v := range r.deployed.Env {
		if set[v.Name] = v.Value; v.From != nil {
			set[v.Name] = "from elsewhere"
		}
	}
	var problems []error
	var dead, ours []string
	for _, n := range config.Notices(envconfig.MapLookuper(set)) {
		if len(config.PassedOn(envconfig.MapLookuper(set), []string{n.Variable})) > 0 {
			continue // flows' pods get it
		}
		dead = append(dead, n.Variable)
		r.leftOut("env", n.Variable, n.Why)
	}
	forFlows := map[string]string{}
	for _, v := range r.deployed.Env {
		switch {
		case slices.Contains(dead, v.Name):
		case v.Name == keyVariable3 && v.From != nil:
			problems = append(problems, r.inSecret(v, &r.o.Key))
		case v.Name == authVariable && v.From != nil:
			problems = append(problems, r.inSecret(v, &r.o.Auth))
		case v.From != nil:
			r.keep(v)
		case v.Value == "":
		case v.Name == keyVariable3:
			r.o.Key = install.Credential{Value: v.Value, Flag: r.from("env")}
		case v.Name == authVariable:
			r.o.Auth = install.Credential{Value: v.Value, Flag: r.from("env")}
		default:
			ours = append(ours, r.workersVariable(v, forFlows)...)
		}
	}
	r.workersSecrets(set)
	r.forFlows(forFlows)
	if len(ours) > 0 {
		r.hint("not settings of Prefect or of ours, so both processes get them as they are: %s; if a work pool's template uses one as {{ $NAME }}, name it in PREFECT_KEDA_TEMPLATE_ENV", strings.Join(ours, ", "))
	}
	for _, item := range r.deployed.EnvFrom {
		r.o.EnvFrom = append(r.o.EnvFrom, install.Field{Item: item, Flag: r.from("envFrom")})
		r.hint("the worker's envFrom goes to both processes. Its content is not read here: if it has the API's URL or a key, give --api and --key. It has to be in %s: %s", r.o.Home(), r.copied(item, r.o.Home()))
	}
	return errors.Join(problems...)
}

// workersVariable puts a plain variable where it belongs: into the ConfigMap, among the
// variables of flows, or into both processes as it is, whose name it returns.
func (r *takeover) workersVariable(v install.Variable, forFlows map[string]string) (asItIs []string) {
	one := envconfig.MapLookuper(map[string]string{v.Name: v.Value})
	where, tied := wired()[v.Name]
	switch {
	case v.Name == "HOME" || v.Name == observerNamespaces || strings.HasSuffix(v.Name, "_SECRET_NAME") || strings.HasSuffix(v.Name, "_SECRET_KEY"):
		// The first is the image's; workersNamespaces and workersSecrets read the others.
	case ofTheWorker(v.Name):
		r.leftOut("env", v.Name, "it is about the worker's own home or a server")
	case tied:
		r.hint("%s is left out: %s", v.Name, where)
	case isSetting(v.Name) || len(config.PassedOn(one, []string{v.Name})) > 0:
		r.set(v.Name, v.Value, r.from("env"))
	case strings.HasPrefix(v.Name, "PREFECT_"):
		forFlows[v.Name] = v.Value // a worker gives all that begin so to its flows
	default:
		r.o.Env = append(r.o.Env, install.Field{Item: v.Item, Flag: r.from("env")})
		return []string{v.Name}
	}
	return nil
}

// ofTheWorker is true of variables that belong to a worker's files or to a server.
func ofTheWorker(name string) bool {
	return name == "PREFECT_HOME" || strings.HasPrefix(name, "PREFECT_PROFILE") || strings.HasPrefix(name, "PREFECT_SERVER_")
}

func isSetting(variable string) bool {
	return slices.ContainsFunc(allSettings(), func(s config.Setting) bool { return s.For(config.Prefect3) == variable || s.Variable3 == variable })
}

// workersSecrets compares the Secrets that the worker named for flows with those that it
// read itself: here they are the same.
func (r *takeover) workersSecrets(set map[string]string) {
	for _, c := range []struct {
		prefix, what string
		of           *install.Credential
	}{{ofKubernetes + "WORKER_API_KEY_SECRET_", "API key", &r.o.Key}, {ofKubernetes + "WORKER_API_AUTH_STRING_SECRET_", "auth string", &r.o.Auth}} {
		named := install.Secret{Name: set[c.prefix+"NAME"], Key: set[c.prefix+"KEY"]}
		if named.Name == "" || named == c.of.Secret {
			continue
		}
		if c.of.Secret.Name != "" {
			r.hint("the worker read the %s from Secret %s and named %s for its flows; here both read %s", c.what, c.of.Secret.Name, named.Name, named.Name)
		}
		*c.of = install.Credential{Secret: named, Flag: r.from("env")}
	}
}

// forFlows gives variables to flows' pods only.
func (r *takeover) forFlows(variables map[string]string) {
	if len(variables) == 0 {
		return
	}
	text, err := json.Marshal(variables) // sorts them
	if err != nil {
		return
	}
	r.set("PREFECT_KEDA_FLOW_ENV", string(text), r.from("env"))
}

// leftOut notes what has no effect, and why.
func (r *takeover) leftOut(part, name, why string) {
	r.o.Notes = append(r.o.Notes, fmt.Sprintf("%-24s %s: left out, %s", r.from(part), name, why))
}

// workersArguments reads the worker's command line, which wins over its environment.
func (r *takeover) workersArguments() error {
	fs := pflag.NewFlagSet("worker", pflag.ContinueOnError)
	for _, f := range workerFlags() {
		if f.bare {
			fs.BoolP(f.name, f.short, false, "")
		} else {
			fs.StringArrayP(f.name, f.short, nil, "")
		}
	}
	args := r.knownArguments(fs)
	if i := slices.IndexFunc(args, install.Unknown); i >= 0 {
		return fmt.Errorf("--from-worker: the worker's argument %d (after %q) contains a value that only its shell knows: give that flag here", i+1, args[max(i-1, 0)])
	}
	if err := fs.Parse(args); err != nil {
		return fmt.Errorf("--from-worker: the worker's command line: %w", err)
	}
	for _, f := range workerFlags() {
		if !fs.Changed(f.name) {
			continue
		}
		values, _ := fs.GetStringArray(f.name)
		switch {
		case f.name == "type":
			if kind := values[len(values)-1]; kind != "kubernetes" {
				return fmt.Errorf("--from-worker: the worker is of type %s: we take the place of workers of type kubernetes only", kind)
			}
		case f.variable == "":
			r.leftOut("--"+f.name, "", f.why)
		case f.name == "pool":
			r.set(f.variable, listed(values[len(values)-1:]), r.from("--"+f.name))
		case f.name == "work-queue":
			r.set(f.variable, listed(values), r.from("--"+f.name))
		default:
			r.set(f.variable, values[len(values)-1], r.from("--"+f.name))
		}
	}
	return nil
}

// listed writes names as a,b, and as a list if a name is not as simple.
func listed(names []string) string {
	if !slices.ContainsFunc(names, func(name string) bool { return strings.ContainsAny(name, `,'"[]\ `) }) {
		return strings.Join(names, ",")
	}
	var quoted []string
	for _, name := range names {
		quoted = append(quoted, literal.Quote(name))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// workersNamespaces finds out where the worker's Jobs are. Work pools decide that; the worker
// may create Jobs where its Role is, and watches those of its observer.
func (r *takeover) workersNamespaces() {
	i := slices.IndexFunc(r.deployed.Env, func(v install.Variable) bool { return v.Name == observerNamespaces && v.From == nil })
	all := slices.Clone(r.deployed.JobNamespaces)
	from := r.from("Role")
	if i >= 0 {
		for name := range strings.SplitSeq(r.deployed.Env[i].Value, ",") {
			if name = strings.TrimSpace(name); name != "" && !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	if len(r.deployed.JobNamespaces) == 0 {
		from = r.from("env")
	}
	if len(all) == 0 && r.deployed.Namespace != "" {
		all, from = []string{r.deployed.Namespace}, r.from("namespace")
	}
	if len(all) == 0 {
		return
	}
	r.set("NAMESPACE", all[0], from)
	if r.o.FurtherNamespaces = all[1:]; len(all) > 1 {
		r.set(namespacesVariable, strings.Join(all[1:], ","), r.from("env"))
	}
	r.hint("Jobs of work pools and deployments that name no namespace, or the template's default, go to %s", all[0])
}

// baseJobTemplate tells of the template that the worker's chart writes into its pool.
func (r *takeover) baseJobTemplate() {
	for _, m := range r.deployed.Pod.Mounts {
		at, _ := m["mountPath"].(string)
		if path.Base(at) != "baseJobTemplate.json" {
			continue
		}
		_, volume, _ := r.deployed.Pod.Mounted(at)
		from, _ := volume["configMap"].(map[string]any)
		r.leave("the base job template in ConfigMap %v: the chart writes it into the work pool, we never do, and the pool keeps what it has. To change it later: prefect work-pool update POOL --base-job-template FILE", from["name"])
	}
}
