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

// Options are what differs from the base; the zero value is the base.
type Options struct {
	Settings []Setting
	// Key is printed as a Secret; empty prints none.
	Key string
	// KeyRequired has pods wait for the Secret.
	KeyRequired bool
	// JobNamespace is where the flows' Jobs go, if not beside the launchers.
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
	// Notes are further lines for the head of the text.
	Notes []string
}

// What the base calls things.
const (
	Namespace  = "prefect-keda"
	SecretName = "prefect-api-key" //nolint:gosec // a name
	secretKey  = "api-key"
	configName = "prefect-keda"
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
	for _, s := range o.Settings {
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
	where := []string{Namespace}
	if o.JobNamespace != "" && o.JobNamespace != Namespace {
		where = append(where, o.JobNamespace)
		for _, object := range m.objects {
			switch object.kind() {
			case "Role", "RoleBinding":
				object.set(o.JobNamespace, "--namespace", "metadata", "namespace")
			case "Deployment":
				variable := object.container().named("env", "NAMESPACE")
				variable.drop("valueFrom")
				variable.set(o.JobNamespace, "--namespace", "value")
			}
		}
		m.note("--namespace", "NAMESPACE of both Deployments, and where the Roles are; the namespace itself is not made")
	}
	if o.Key == "" {
		return
	}
	for i, namespace := range where {
		m.insert(1+i, fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\n", SecretName, namespace)).
			set(o.Key, "--key", "stringData", secretKey)
	}
	m.note("--key", "Secret "+SecretName+" in "+strings.Join(where, " and ")+": keep this text as you keep the key")
}

func (m *manifests) pods(o Options) {
	for _, object := range m.objects {
		if object.kind() != "Deployment" {
			continue
		}
		container := object.container()
		if o.KeyRequired {
			container.named("env", "PREFECT__CLOUD__API_KEY").set(false, "--backend cloud", "valueFrom", "secretKeyRef", "optional")
		}
		for _, name := range o.ImagePullSecrets {
			object.field("spec", "template", "spec", "imagePullSecrets").add(map[string]string{"name": name}, "--image-pull-secrets")
		}
		image, flag := container.field("image").node.Value, ""
		if o.Image != "" {
			image, flag = o.Image, "--image"
		}
		if o.Latest {
			image, flag = repository(image)+":latest", "--latest"
		}
		if flag == "" {
			continue
		}
		container.set(image, flag, "image")
		if strings.HasSuffix(image, ":latest") || !strings.Contains(image[len(repository(image)):], ":") && !strings.Contains(image, "@") {
			container.set("Always", flag, "imagePullPolicy") // the tag moves
		}
		m.note(flag, "image of both Deployments")
	}
	if len(o.ImagePullSecrets) > 0 {
		m.note("--image-pull-secrets", "and imagePullSecrets of both Deployments, so the Secrets have to be in "+Namespace+" too")
	}
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
