// Package install prints the manifests of manifests/ with flags applied. The base is
// embedded as kustomize renders it, so install prints the same as `kubectl apply -k
// manifests` applies, except for the flags; a test compares it with kustomize.
//
// The package knows objects and their fields. It does not know what settings mean, nor
// the rules between them.
package install

import (
	"bytes"
	"cmp"
	_ "embed"
	"errors"
	"fmt"
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

// Field is an item for a list in a pod, in the manifest's form, and the flag it came from.
type Field struct {
	Item map[string]any
	Flag string
	// Both also gives a volume or mount to the scaler.
	Both bool
}

// PodField is a field of the pods' spec, or an annotation.
type PodField struct {
	Name  string
	Value any
	Flag  string
	// Launcher is true if only the launcher gets it.
	Launcher bool
}

// Options are the differences to the base; the zero value is the base.
type Options struct {
	Settings []Setting
	// Without are variables of the base to leave out.
	Without []string
	// Key is the API key, Auth the auth string of a Prefect 3 server.
	Key, Auth Credential
	// Env and EnvFrom are added to both processes.
	Env, EnvFrom []Field
	// Volumes and Mounts are added to the launcher's.
	Volumes, Mounts []Field
	// Pod are fields of our pods, Annotations their annotations, and AccountAnnotations the
	// annotations of the launcher's service account.
	Pod, Annotations, AccountAnnotations []PodField
	// Namespace is for our own objects. Empty means the base's, which install also makes.
	Namespace string
	// JobNamespace is for the flows' Jobs. Empty means the base's, which install also makes.
	JobNamespace string
	// FurtherNamespaces are for Jobs too. Their Roles are copies of those of JobNamespace.
	FurtherNamespaces []string
	// ImagePullSecrets are for our own pods.
	ImagePullSecrets []string
	// Image replaces the base's.
	Image string
	// Latest uses the image's tag latest.
	Latest bool
	// WithoutRBAC leaves out the Roles and their bindings.
	WithoutRBAC bool
	// RunsPerLauncher and MaxLaunchers are 0 for the base's.
	RunsPerLauncher, MaxLaunchers int
	// NamespaceFlag is the flag that gave JobNamespace, if it was not --namespace.
	NamespaceFlag string
	// Notes are further lines for the head of the text.
	Notes []string
}

// Home is the namespace of our own objects.
func (o Options) Home() string { return cmp.Or(o.Namespace, Namespace) }

// Names in the base.
const (
	Namespace      = "prefect-keda"
	FlowsNamespace = "prefect-flows"
	SecretName     = "prefect-api-key" //nolint:gosec // a name
	// LauncherAccount is the launcher's service account.
	LauncherAccount = "prefect-keda-launcher"
	configName      = "prefect-keda"
	homeVariable    = "PREFECT_KEDA_NAMESPACE"
	homeFlag        = "--install-namespace"
	namespacesFlag  = "--job-namespaces"
	// ownSuffix is at the end of the Roles in our own namespace.
	ownSuffix = "-own"
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

// Render returns the manifests, with a comment at each value that a flag has set.
func Render(o Options) ([]byte, error) {
	m, err := parse()
	if err != nil {
		return nil, err
	}
	o.Namespace, o.JobNamespace = o.Home(), cmp.Or(o.JobNamespace, FlowsNamespace)
	o.NamespaceFlag, o.Key.Flag = cmp.Or(o.NamespaceFlag, "--namespace"), cmp.Or(o.Key.Flag, "--key")
	m.configure(o)
	m.namespaces(o)
	m.pods(o)
	m.accounts(o)
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

// configure writes the ConfigMap under a name made of its content. A changed setting then
// rolls the Deployments and reaches KEDA, as with kustomize.
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
	if o.Namespace != Namespace {
		settings = append([]Setting{{homeVariable, o.Namespace, homeFlag}}, settings...)
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

func (m *manifests) pods(o Options) {
	for _, object := range m.objects {
		if object.kind() != "Deployment" {
			continue
		}
		container := object.container()
		m.credentials(container, o)
		for _, f := range o.Env {
			container.field("env").add(f.Item, f.Flag)
			m.note(f.Flag, fmt.Sprintf("%v in the environment of both Deployments", f.Item["name"]))
		}
		for _, f := range o.EnvFrom {
			container.field("envFrom").add(f.Item, f.Flag)
			m.note(f.Flag, "envFrom of both Deployments")
		}
		m.like(object, container, o)
		for _, name := range o.ImagePullSecrets {
			object.field("spec", "template", "spec", "imagePullSecrets").add(map[string]string{"name": name}, "the flows' own")
		}
		m.image(container, o)
	}
	if len(o.ImagePullSecrets) > 0 {
		m.note("IMAGE_PULL_SECRETS", "also imagePullSecrets of both Deployments, so the Secrets have to be in "+o.Namespace+" too")
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
		container.set("Always", flag, "imagePullPolicy") // the tag can move to another image
	}
	m.note(flag, "image of both Deployments")
}

// repository is an image without its tag and digest; it keeps a registry's port.
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
			object.field("spec", "triggers").first().set(strconv.Itoa(o.RunsPerLauncher), "--runs-per-launcher", "metadata", "runsPerLauncher")
			m.note("--runs-per-launcher", "runsPerLauncher of the ScaledObject's trigger")
		}
		if o.MaxLaunchers != 0 {
			object.set(o.MaxLaunchers, "--max-launchers", "spec", "maxReplicaCount")
			m.note("--max-launchers", "maxReplicaCount of the ScaledObject")
		}
	}
}

func (m *manifests) text(o Options) ([]byte, error) {
	var out bytes.Buffer
	out.WriteString("# Printed by prefect-keda install, for kubectl apply -f -; install KEDA first.\n")
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
	objects, err := documents(base)
	if err != nil {
		return nil, fmt.Errorf("read the embedded manifests: %w", err)
	}
	m := &manifests{}
	for _, object := range objects {
		m.objects = append(m.objects, spot{m, object})
	}
	return m, nil
}
