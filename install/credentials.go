package install

import (
	"slices"
	"strings"
)

// Credential is how our processes and the flows' pods get a key; the zero value leaves it as
// in the base.
type Credential struct {
	// Value is printed as a Secret; empty prints none.
	Value string
	// Secret has the value, if the base's Secret does not.
	Secret Secret
	// Required makes pods wait for the Secret.
	Required bool
	// Flag is where Value or Secret came from.
	Flag string
}

// place is where a credential is in the base: a variable of our processes, which the
// launcher also has with the suffix _SECRET, and a key of the base's Secret.
type place struct {
	variable, key, what string
	Credential
}

func (o Options) credentials() []place {
	return []place{
		{"PREFECT_KEDA_API_KEY", "api-key", "the key", o.Key},
		{"PREFECT_KEDA_API_AUTH_STRING", "auth-string", "the auth string", o.Auth},
	}
}

// credentials makes the container read them from their Secrets, and the flows' pods too.
func (m *manifests) credentials(container spot, o Options) {
	for _, c := range o.credentials() {
		reference := container.named("env", c.variable).field("valueFrom", "secretKeyRef")
		if c.Required {
			reference.set(false, "Prefect Cloud needs a key", "optional")
		}
		if c.Secret.Name == "" {
			continue
		}
		reference.set(c.Secret.Name, c.Flag, "name")
		reference.set(c.Secret.Key, c.Flag, "key")
		reference.set(false, c.Flag, "optional")
		m.note(c.Flag, "key "+c.Secret.Key+" of Secret "+c.Secret.Name+", which both Deployments and the flows' pods read")
		if container.field("name").node.Value == "launcher" {
			container.named("env", c.variable+"_SECRET").set(c.Secret.Name+"/"+c.Secret.Key, c.Flag, "value")
		}
	}
}

// secrets prints the credentials whose value is known, in each namespace that reads them.
func (m *manifests) secrets(o Options) {
	made := slices.IndexFunc(m.objects, func(object spot) bool { return object.kind() != "Namespace" })
	where := slices.Compact(append([]string{o.Namespace, o.JobNamespace}, o.FurtherNamespaces...))
	for i, namespace := range where {
		var secret spot
		for _, c := range o.credentials() {
			if c.Value == "" {
				continue
			}
			if secret.node == nil {
				metadata := map[string]string{"name": SecretName, "namespace": namespace}
				secret = m.insert(made+i, map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": metadata})
			}
			secret.set(c.Value, c.Flag, "stringData", c.key)
			m.note(c.Flag, "Secret "+SecretName+" in "+strings.Join(where, " and ")+": keep this text as you keep "+c.what)
		}
	}
}
