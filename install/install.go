// Package install turns what manifests/ builds into manifests for one place. The
// base is embedded as kustomize renders it, so that what is printed and what
// `kubectl apply -k manifests` installs are the same but for the flags given; a
// test builds the same with kustomize.
//
// It knows objects and their fields. What settings mean, and the rules between
// them, it does not know.
package install

import (
	"bytes"
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:generate go test -run TestBaseIsKustomize -update

//go:embed base.yaml
var base []byte

// Setting is a variable of both processes, and the flag it came by.
type Setting struct{ Variable, Value, Flag string }

// Secret names a key of a Kubernetes Secret.
type Secret struct{ Name, Key string }

// Field is an item for a list in a pod, as the manifest has it, and where it is from.
type Field struct {
	Item map[string]any
	Flag string
}

// Options are what differs from the base; the zero value is the base.
type Options struct {
	Settings []Setting
	// Without are variables of the base to leave out.
	Without []string
	// Key is printed as a Secret; empty prints none.
	Key string
	// KeySecret is where the key is, if not in the base's Secret.
	KeySecret Secret
	// KeyRequired has pods wait for the Secret.
	KeyRequired bool
	// Env and EnvFrom are added to both processes' own.
	Env, EnvFrom []Field
	// Volumes and Mounts are added to the launcher's.
	Volumes, Mounts []Field
	// JobNamespace is where the flows' Jobs go, if not to a namespace of their own,
	// which is made then.
	JobNamespace string
	// ImagePullSecrets are for our own pods.
	ImagePullSecrets []string
	// Image replaces the base's.
	Image string
	// Latest takes the image's tag latest.
	Latest bool
	// WithoutRBAC leaves the Roles and their bindings to somebody else.
	WithoutRBAC bool
	// RunsPerLauncher and MaxLaunchers are 0 for the base's.
	RunsPerLauncher, MaxLaunchers int
	// NamespaceFlag is what JobNamespace came by, if not --namespace, and KeyFlag the
	// same for the key.
	NamespaceFlag, KeyFlag string
	// Notes are further lines for the head of the text.
	Notes []string
}

// What the base calls things.
const (
	Namespace      = "prefect-keda"
	FlowsNamespace = "prefect-flows"
	SecretName     = "prefect-api-key" //nolint:gosec // a name
	secretKey      = "api-key"
	configName     = "prefect-keda"
)

// Defaults are the settings of the base, by variable.
func Defaults() (map[string]string, error) {
	m, err := parse()
	if err != nil {
		return nil, err
	}
	var data map[string]string
	if err := m.config().field("data").node.Decode(&data); err != nil {
		return nil, fmt.Errorf("read the embedded manifests: %w", err)
	}
	return data, m.err
}

// Render is the manifests, with a comment at what each flag has set.
func Render(o Options) ([]byte, error) {
	m, err := parse()
	if err != nil {
		return nil, err
	}
	o.JobNamespace = cmp.Or(o.JobNamespace, FlowsNamespace)
	o.NamespaceFlag, o.KeyFlag = cmp.Or(o.NamespaceFlag, "--namespace"), cmp.Or(o.KeyFlag, "--key")
	m.configure(o)
	m.namespaces(o)
	m.pods(o)
	m.scaling(o)
	if o.WithoutRBAC {
		m.remove("Role", "RoleBinding")
		m.note("--rbac=false", "no Role, no RoleBinding")
	}
	if m.err != nil {
		return nil, fmt.Errorf("change the embedded manifests: %w", m.err)
	}
	return m.text(o)
}

// configure writes the ConfigMap, under a name that tells its content: a changed
// setting then rolls the Deployments and reaches KEDA, as it does with kustomize.
func (m *manifests) configure(o Options) {
	config := m.config()
	old := config.field("metadata", "name").node.Value
	for _, variable := range o.Without {
		config.field("data").drop(variable)
	}
	settings := o.Settings
	if o.JobNamespace != FlowsNamespace {
		settings = append([]Setting{{"NAMESPACE", o.JobNamespace, o.NamespaceFlag}}, settings...)
	}
	for _, s := range settings {
		config.set(s.Value, s.Flag, "data", s.Variable)
		m.note(s.Flag, s.Variable+" in the ConfigMap")
	}
	config.field("data").sort()
	var data map[string]string
	m.fail(config.field("data").node.Decode(&data))
	name := configName + "-" + contentHash(data)
	for _, o := range m.objects {
		rename(o.node, old, name)
	}
}

func rename(n *yaml.Node, from, to string) {
	if n.Kind == yaml.ScalarNode && n.Value == from {
		n.Value = to
	}
	for _, child := range n.Content {
		rename(child, from, to)
	}
}

func (m *manifests) namespaces(o Options) {
	if o.JobNamespace != FlowsNamespace {
		m.objects = slices.DeleteFunc(m.objects, func(object spot) bool {
			return object.kind() == "Namespace" && object.field("metadata", "name").node.Value == FlowsNamespace
		})
		for _, object := range m.objects {
			if kind := object.kind(); kind == "Role" || kind == "RoleBinding" {
				object.set(o.JobNamespace, o.NamespaceFlag, "metadata", "namespace")
			}
		}
		m.note(o.NamespaceFlag, "and where the Roles are; "+notMade(o.JobNamespace))
	}
	if o.Key == "" {
		return
	}
	made := slices.IndexFunc(m.objects, func(object spot) bool { return object.kind() != "Namespace" })
	where := slices.Compact([]string{Namespace, o.JobNamespace})
	for i, namespace := range where {
		m.insert(made+i, fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\n", SecretName, namespace)).
			set(o.Key, o.KeyFlag, "stringData", secretKey)
	}
	m.note(o.KeyFlag, "Secret "+SecretName+" in "+strings.Join(where, " and ")+": keep this text as you keep the key")
}

func notMade(namespace string) string {
	if namespace == Namespace {
		return "flows share the namespace with what is ours, and may name any Secret in it"
	}
	return "the namespace itself is not made"
}

func (m *manifests) pods(o Options) {
	for _, object := range m.objects {
		if object.kind() != "Deployment" {
			continue
		}
		container := object.container()
		m.key(container, o)
		for _, f := range o.Env {
			container.field("env").add(f.Item, f.Flag)
			m.note(f.Flag, fmt.Sprintf("%v in the environment of both Deployments", f.Item["name"]))
		}
		for _, f := range o.EnvFrom {
			container.field("envFrom").add(f.Item, f.Flag)
			m.note(f.Flag, "envFrom of both Deployments")
		}
		if container.field("name").node.Value == "launcher" {
			for _, f := range o.Mounts {
				container.field("volumeMounts").add(f.Item, f.Flag)
			}
			for _, f := range o.Volumes {
				object.field("spec", "template", "spec", "volumes").add(f.Item, f.Flag)
				m.note(f.Flag, fmt.Sprintf("volume %v of the launcher", f.Item["name"]))
			}
		}
		for _, name := range o.ImagePullSecrets {
			object.field("spec", "template", "spec", "imagePullSecrets").add(map[string]string{"name": name}, "the flows' own")
		}
		m.image(container, o)
	}
	if len(o.ImagePullSecrets) > 0 {
		m.note("IMAGE_PULL_SECRETS", "also imagePullSecrets of both Deployments, so the Secrets have to be in "+Namespace+" too")
	}
}

// key has the container read the key where it is, and the flows' pods too.
func (m *manifests) key(container spot, o Options) {
	reference := container.named("env", "PREFECT_KEDA_API_KEY").field("valueFrom", "secretKeyRef")
	if o.KeyRequired {
		reference.set(false, "Prefect Cloud wants a key", "optional")
	}
	if o.KeySecret.Name == "" {
		return
	}
	reference.set(o.KeySecret.Name, o.KeyFlag, "name")
	reference.set(o.KeySecret.Key, o.KeyFlag, "key")
	reference.set(false, o.KeyFlag, "optional")
	m.note(o.KeyFlag, "key "+o.KeySecret.Key+" of Secret "+o.KeySecret.Name+", which both Deployments and the flows' pods read")
	if container.field("name").node.Value == "launcher" {
		container.named("env", "PREFECT_KEDA_API_KEY_SECRET").set(o.KeySecret.Name+"/"+o.KeySecret.Key, o.KeyFlag, "value")
	}
}

func (m *manifests) image(container spot, o Options) {
	image, flag := container.field("image").node.Value, ""
	if o.Image != "" {
		image, flag = o.Image, "--image"
	}
	if o.Latest {
		image, flag = repository(image)+":latest", "--latest"
	}
	if flag == "" {
		return
	}
	container.set(image, flag, "image")
	if strings.HasSuffix(image, ":latest") || image == repository(image) {
		container.set("Always", flag, "imagePullPolicy") // the tag moves
	}
	m.note(flag, "image of both Deployments")
}

// repository is an image without its tag and digest; a port is no tag.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
		return image[:i]
	}
	return image
}

func (m *manifests) scaling(o Options) {
	for _, object := range m.objects {
		if object.kind() != "ScaledObject" {
			continue
		}
		if o.RunsPerLauncher != 0 {
			object.field("spec", "triggers").item(0).set(strconv.Itoa(o.RunsPerLauncher), "--runs-per-launcher", "metadata", "runsPerLauncher")
			m.note("--runs-per-launcher", "runsPerLauncher of the ScaledObject's trigger")
		}
		if o.MaxLaunchers != 0 {
			object.set(o.MaxLaunchers, "--max-launchers", "spec", "maxReplicaCount")
			m.note("--max-launchers", "maxReplicaCount of the ScaledObject")
		}
	}
}

// text writes the documents as kubectl wants them.
func (m *manifests) text(o Options) ([]byte, error) {
	var out bytes.Buffer
	out.WriteString("# Printed by prefect-keda install, for kubectl apply -f -; KEDA has to be there first.\n")
	if notes := slices.Concat(m.notes, o.Notes); len(notes) > 0 {
		out.WriteString("# Where the flags went:\n")
		for _, n := range notes {
			out.WriteString("#   " + n + "\n")
		}
	}
	for _, object := range m.objects {
		out.WriteString("---\n")
		encoder := yaml.NewEncoder(&out)
		encoder.SetIndent(2)
		if err := errors.Join(encoder.Encode(object.node), encoder.Close()); err != nil {
			return nil, fmt.Errorf("write %s: %w", object.kind(), err)
		}
	}
	return out.Bytes(), nil
}

func parse() (*manifests, error) {
	m := &manifests{}
	for decoder := yaml.NewDecoder(bytes.NewReader(base)); ; {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return m, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the embedded manifests: %w", err)
		}
		m.objects = append(m.objects, spot{m, document.Content[0]})
	}
}
