package install

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Deployed is what a manifest says about how an agent or a worker runs.
type Deployed struct {
	// Namespace is its own; empty if the text does not give it.
	Namespace string
	// Env has each variable once: the last one with its name.
	Env     []Variable
	EnvFrom []map[string]any
	// Args are the arguments of its start command.
	Args []string
	// Pod is the rest of its pod.
	Pod Pod
	// JobNamespaces are those in which a Role of the same text allows to create Jobs.
	JobNamespaces []string
}

// Variable is a variable of its container.
type Variable struct {
	Name, Value string
	// From is the source of a value that is not in the manifest, in the manifest's form.
	From map[string]any
	// Item is the variable in the manifest's form.
	Item map[string]any
}

type manifest struct {
	Kind     string
	Metadata metadata
	Items    []yaml.Node
	Rules    []struct{ Resources, Verbs []string }
	Spec     struct {
		Template struct {
			Metadata metadata
			Spec     podSpec
		}
	}
}

type metadata struct {
	Name, Namespace     string
	Labels, Annotations map[string]string
}

type container struct {
	Name          string
	Command, Args []string
	Env           []map[string]any
	EnvFrom       []map[string]any `yaml:"envFrom"`
	Mounts        []map[string]any `yaml:"volumeMounts"`
	Rest          map[string]any   `yaml:",inline"`
}

// program is what is looked for in a manifest.
type program struct {
	// start is its start command, without the path of prefect.
	start []string
	// name is what people call it, and give what to give instead of a text without one.
	name, give string
}

// ReadAgent finds a Prefect 1.x agent in the output of kubectl, helm or the agent's own
// install: a Deployment, a list or a stream with one in it, an env block alone, or
// NAME=value lines.
func ReadAgent(text []byte) (Deployed, error) {
	return read(text, program{
		[]string{"prefect", "agent", "kubernetes", "start"},
		"agent",
		"give the agent's Deployment as kubectl get -o yaml prints it, or its env block",
	})
}

// ReadWorker finds a worker of Prefect 3 in the output of helm or kubectl, in the forms
// that ReadAgent takes.
func ReadWorker(text []byte) (Deployed, error) {
	return read(text, program{
		[]string{"prefect", "worker", "start"},
		"worker",
		"give what `helm get manifest RELEASE` prints, the worker's Deployment as kubectl get -o yaml prints it, or its env block",
	})
}

func read(text []byte, p program) (Deployed, error) {
	if env, ok := lines(string(text)); ok {
		return Deployed{Env: env}, nil
	}
	found := reading{program: p, accounts: map[string]map[string]string{}}
	objects, err := documents(text)
	if err != nil {
		return Deployed{}, fmt.Errorf("is neither YAML nor JSON: %w", err)
	}
	for _, object := range objects {
		if err := found.read(object, 0); err != nil {
			return Deployed{}, err
		}
	}
	switch len(found.all) {
	case 0:
		return Deployed{}, fmt.Errorf("has no container that runs `%s`: %s", strings.Join(p.start, " "), p.give)
	case 1:
		one := found.all[0]
		one.Pod.AccountAnnotations = found.accounts[one.Pod.Account]
		one.JobNamespaces = found.jobNamespaces
		return one, nil
	}
	return Deployed{}, fmt.Errorf("has %d %ss: give one at a time, each with its own install", len(found.all), p.name)
}

var line = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

func lines(text string) (env []Variable, ok bool) {
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, "\r\n")
		if strings.TrimSpace(l) == "" || strings.HasPrefix(l, "#") {
			continue
		}
		if !line.MatchString(l) {
			return nil, false
		}
		name, value, _ := strings.Cut(l, "=")
		env = put(env, Variable{Name: name, Value: value, Item: map[string]any{"name": name, "value": value}})
	}
	return env, len(env) > 0
}

// put appends a variable and removes an earlier one of its name.
func put(env []Variable, v Variable) []Variable {
	return append(slices.DeleteFunc(env, func(o Variable) bool { return o.Name == v.Name }), v)
}

// deepest bounds lists in lists.
const deepest = 4

// reading holds what was found in a text.
type reading struct {
	program program
	all     []Deployed
	// accounts are the annotations of service accounts by name.
	accounts map[string]map[string]string
	// jobNamespaces are those of the Roles that allow to create Jobs.
	jobNamespaces []string
}

func (r *reading) read(n *yaml.Node, depth int) error {
	if n.Kind == yaml.SequenceNode {
		return r.block(n)
	}
	if n.Kind != yaml.MappingNode || depth > deepest {
		return nil
	}
	if top := (spot{&manifests{}, n}); top.index("kind") < 0 && top.index("env") >= 0 {
		return r.block(top.field("env").node)
	}
	var m manifest
	if err := n.Decode(&m); err != nil {
		if m.Kind == "Deployment" {
			return fmt.Errorf("has a Deployment that cannot be read: %w", err)
		}
		return nil // not an object that we read
	}
	for i := range m.Items {
		if err := r.read(&m.Items[i], depth+1); err != nil {
			return err
		}
	}
	switch m.Kind {
	case "ServiceAccount":
		r.accounts[m.Metadata.Name] = m.Metadata.Annotations
	case "Role":
		r.role(m)
	case "Deployment":
		return r.deployment(m)
	}
	return nil
}

func (r *reading) role(m manifest) {
	for _, rule := range m.Rules {
		if slices.Contains(rule.Resources, "jobs") && slices.Contains(rule.Verbs, "create") && m.Metadata.Namespace != "" {
			r.jobNamespaces = append(slices.DeleteFunc(r.jobNamespaces, func(n string) bool { return n == m.Metadata.Namespace }), m.Metadata.Namespace)
		}
	}
}

func (r *reading) deployment(m manifest) error {
	for i, c := range m.Spec.Template.Spec.Containers {
		env, err := variables(c.Env)
		if err != nil {
			return err
		}
		args, runs := r.program.args(slices.Concat(c.Command, c.Args), env)
		if !runs {
			continue
		}
		r.all = append(r.all, Deployed{
			Namespace: m.Metadata.Namespace, Env: env, EnvFrom: c.EnvFrom, Args: args,
			Pod: m.Spec.Template.Spec.of(i, m.Spec.Template.Metadata),
		})
	}
	return nil
}

func (r *reading) block(n *yaml.Node) error {
	var items []map[string]any
	if err := n.Decode(&items); err != nil {
		return nil //nolint:nilerr // not an env block
	}
	env, err := variables(items)
	if err != nil || len(env) == 0 {
		return err
	}
	r.all = append(r.all, Deployed{Env: env})
	return nil
}

// variables reads an env list. It expands $(NAME) as Kubernetes does. If the manifest does
// not hold that value, the variable counts as one from elsewhere.
func variables(items []map[string]any) (env []Variable, err error) {
	for _, item := range items {
		name, _ := item["name"].(string)
		if name == "" {
			return nil, errors.New("has a variable without a name in an env block")
		}
		v := Variable{Name: name, Item: item}
		v.From, _ = item["valueFrom"].(map[string]any)
		if value, set := item["value"]; set && value != nil && v.From == nil {
			v.Value = expanded(fmt.Sprint(value), known(env))
			if strings.Contains(v.Value, unknown) {
				v.Value, v.From = "", map[string]any{"value": value}
			}
		}
		env = put(env, v)
	}
	return env, nil
}

// maxExpanded bounds what all variables in one text expand to, in bytes: each of them may
// hold the one before it several times. Linux takes no longer variable or argument.
const maxExpanded = 128 << 10

// known looks up plain values. A variable that is not in env is not found; one from
// elsewhere has the value unknown, and so has each after too much was looked up.
func known(env []Variable) func(string) (string, bool) {
	room := maxExpanded
	return func(name string) (string, bool) {
		i := slices.IndexFunc(env, func(v Variable) bool { return v.Name == name })
		switch {
		case i < 0:
			return "", false
		case env[i].From != nil:
			return unknown, true
		}
		if room -= len(env[i].Value); room < 0 {
			return unknown, true
		}
		return env[i].Value, true
	}
}

var inKubernetes = regexp.MustCompile(`\$(?:\$|\([^$)]*\))`)

// expanded expands $(NAME) as Kubernetes does: $$ is a dollar, and unknown names stay as
// they are.
func expanded(text string, lookup func(string) (string, bool)) string {
	return inKubernetes.ReplaceAllStringFunc(text, func(found string) string {
		if found == "$$" {
			return "$"
		}
		if value, ok := lookup(strings.Trim(found, "$()")); ok {
			return value
		}
		return found
	})
}

// args finds the arguments of the program's start command in a container's command line,
// also inside a script for a shell.
func (p program) args(argv []string, env []Variable) (args []string, runs bool) {
	var line []string
	for _, arg := range argv {
		line = append(line, expanded(arg, known(env)))
	}
	commands := [][]string{line}
	for _, arg := range line {
		if strings.ContainsAny(arg, " \n") {
			commands = append(commands, words(arg, known(env))...)
		}
	}
	for _, command := range commands {
		for i := range command {
			rest := slices.Clone(command[i:])
			rest[0] = path.Base(rest[0])
			if len(rest) >= len(p.start) && slices.Equal(rest[:len(p.start)], p.start) {
				return rest[len(p.start):], true
			}
		}
	}
	return nil, false
}

// Unknown reports whether an argument contains a value that only the running pod knows.
func Unknown(arg string) bool { return strings.Contains(arg, unknown) }
