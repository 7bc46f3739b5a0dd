package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Agent is what an agent's manifest says of how it runs.
type Agent struct {
	// Namespace is the agent's own; empty where the text does not say.
	Namespace string
	// Env has each variable once: of two the last counts.
	Env     []Variable
	EnvFrom []map[string]any
	// Args are those of `prefect agent kubernetes start`.
	Args []string

	mounts, volumes []map[string]any
}

// Variable is a variable of the agent's container.
type Variable struct {
	Name, Value string
	// From says where the value comes from, as the manifest does, when it is not
	// in it.
	From map[string]any
	// Item is the variable as the manifest has it.
	Item map[string]any
}

type agentManifest struct {
	Kind     string
	Metadata struct{ Namespace string }
	Items    []yaml.Node
	Spec     struct {
		Template struct {
			Spec struct {
				Containers []agentContainer
				Volumes    []map[string]any
			}
		}
	}
}

type agentContainer struct {
	Command, Args []string
	Env           []map[string]any
	EnvFrom       []map[string]any `yaml:"envFrom"`
	Mounts        []map[string]any `yaml:"volumeMounts"`
}

// ReadAgent finds the agent in what kubectl, helm or the agent's own install
// printed: a Deployment, a list or a stream that has one in it, an env block
// alone, or NAME=value lines.
func ReadAgent(text []byte) (Agent, error) {
	if env, ok := lines(string(text)); ok {
		return Agent{Env: env}, nil
	}
	var found []Agent
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Agent{}, fmt.Errorf("is neither YAML nor JSON: %w", err)
		}
		if len(document.Content) == 0 {
			continue
		}
		agents, err := agentsIn(document.Content[0], 0)
		if err != nil {
			return Agent{}, err
		}
		found = append(found, agents...)
	}
	switch len(found) {
	case 0:
		return Agent{}, errors.New("has no container in it that runs `prefect agent kubernetes start`: give the agent's Deployment as kubectl get -o yaml prints it, or its env block")
	case 1:
		return found[0], nil
	}
	return Agent{}, fmt.Errorf("has %d agents in it: give one, and each its own install", len(found))
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

// put appends, or replaces an earlier one of that name.
func put(env []Variable, v Variable) []Variable {
	return append(slices.DeleteFunc(env, func(o Variable) bool { return o.Name == v.Name }), v)
}

// deepest is how far lists may be in lists.
const deepest = 4

func agentsIn(n *yaml.Node, depth int) ([]Agent, error) {
	if n.Kind == yaml.SequenceNode {
		return fromBlock(n)
	}
	if n.Kind != yaml.MappingNode || depth > deepest {
		return nil, nil
	}
	if top := (spot{&manifests{}, n}); top.index("kind") < 0 && top.index("env") >= 0 {
		return fromBlock(top.field("env").node)
	}
	var m agentManifest
	if err := n.Decode(&m); err != nil {
		if m.Kind == "Deployment" {
			return nil, fmt.Errorf("has a Deployment that cannot be read: %w", err)
		}
		return nil, nil // it is something else's business what it looks like
	}
	var found []Agent
	for i := range m.Items {
		agents, err := agentsIn(&m.Items[i], depth+1)
		if err != nil {
			return nil, err
		}
		found = append(found, agents...)
	}
	if m.Kind != "Deployment" {
		return found, nil
	}
	for _, c := range m.Spec.Template.Spec.Containers {
		env, err := variables(c.Env)
		if err != nil {
			return nil, err
		}
		args, runs := startArgs(slices.Concat(c.Command, c.Args), env)
		if !runs {
			continue
		}
		found = append(found, Agent{
			Namespace: m.Metadata.Namespace, Env: env, EnvFrom: c.EnvFrom, Args: args,
			mounts: c.Mounts, volumes: m.Spec.Template.Spec.Volumes,
		})
	}
	return found, nil
}

func fromBlock(n *yaml.Node) ([]Agent, error) {
	var items []map[string]any
	if err := n.Decode(&items); err != nil {
		return nil, nil //nolint:nilerr // it is no block
	}
	env, err := variables(items)
	if err != nil || len(env) == 0 {
		return nil, err
	}
	return []Agent{{Env: env}}, nil
}

// variables reads an env list. $(NAME) in a value is what Kubernetes makes of it;
// where that is not in the manifest, the variable is as one that comes from
// elsewhere.
func variables(items []map[string]any) (env []Variable, err error) {
	for _, item := range items {
		name, _ := item["name"].(string)
		if name == "" {
			return nil, errors.New("has a variable without a name in its env")
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

// known looks up plain values; what is not in env at all is not known, and what
// comes from elsewhere is unknown.
func known(env []Variable) func(string) (string, bool) {
	return func(name string) (string, bool) {
		i := slices.IndexFunc(env, func(v Variable) bool { return v.Name == name })
		switch {
		case i < 0:
			return "", false
		case env[i].From != nil:
			return unknown, true
		}
		return env[i].Value, true
	}
}

// expanded does for $(NAME) what Kubernetes does: $$ is a dollar, and names it
// does not know stay as they are.
func expanded(text string, lookup func(string) (string, bool)) string {
	var out strings.Builder
	for text != "" {
		before, after, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			break
		}
		name, rest, closed := strings.Cut(strings.TrimPrefix(after, "("), ")")
		switch value, ok := lookup(name); {
		case strings.HasPrefix(after, "$"):
			out.WriteString("$")
			text = after[1:]
		case strings.HasPrefix(after, "(") && closed && ok:
			out.WriteString(value)
			text = rest
		default:
			out.WriteString("$")
			text = after
		}
	}
	return out.String()
}

// startArgs are the arguments of `prefect agent kubernetes start` in a
// container's command line, also in one that a shell is given.
func startArgs(argv []string, env []Variable) (args []string, runs bool) {
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
			rest := command[i:]
			if len(rest) >= 4 && path.Base(rest[0]) == "prefect" && slices.Equal(rest[1:4], []string{"agent", "kubernetes", "start"}) {
				return rest[4:], true
			}
		}
	}
	return nil, false
}

// Unknown is true of an argument that holds what only the running pod knows.
func Unknown(arg string) bool { return strings.Contains(arg, unknown) }

// Mounted is the mount that a path of the agent's container is in, with its volume.
func (a Agent) Mounted(file string) (mount, volume map[string]any, found bool) {
	for _, m := range a.mounts {
		at, _ := m["mountPath"].(string)
		if at = path.Clean(at); file != at && !strings.HasPrefix(file, strings.TrimSuffix(at, "/")+"/") {
			continue
		}
		for _, v := range a.volumes {
			if v["name"] == m["name"] {
				return m, v, true
			}
		}
	}
	return nil, nil, false
}
