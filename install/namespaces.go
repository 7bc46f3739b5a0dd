package install

import (
	"slices"
	"strings"
)

// namespaces moves everything into its namespace. It makes only the base's namespaces: one
// of another name exists already.
func (m *manifests) namespaces(o Options) {
	to := map[string]struct{ namespace, flag string }{
		Namespace:      {o.Namespace, homeFlag},
		FlowsNamespace: {o.JobNamespace, o.NamespaceFlag},
	}
	m.objects = slices.DeleteFunc(m.objects, func(object spot) bool {
		name := object.field("metadata", "name").node.Value
		return object.kind() == "Namespace" && to[name].namespace != name
	})
	for _, object := range m.objects {
		if object.kind() == "Namespace" {
			continue
		}
		move := func(field spot) {
			if there := to[field.node.Value]; there.namespace != field.node.Value {
				field.set(there.namespace, there.flag)
			}
		}
		move(object.field("metadata", "namespace"))
		switch object.kind() {
		case "RoleBinding":
			move(object.field("subjects").first().field("namespace"))
		case "ScaledObject":
			if o.Namespace != Namespace {
				metadata := object.field("spec", "triggers").first().field("metadata")
				address := metadata.field("scalerAddress").node.Value
				metadata.set(strings.Replace(address, "."+Namespace+".", "."+o.Namespace+".", 1), homeFlag, "scalerAddress")
			}
		}
	}
	if o.JobNamespace != FlowsNamespace {
		m.note(o.NamespaceFlag, "also the namespace of the Roles; "+notMade(o))
	}
	if o.Namespace != Namespace {
		m.note(homeFlag, "also the namespace of scaler, launchers and ScaledObject, which you make yourself")
	}
	m.secrets(o)
	m.furtherNamespaces(o)
}

// furtherNamespaces copies the Roles of the Jobs' namespace, as components/further-namespaces
// does.
func (m *manifests) furtherNamespaces(o Options) {
	roles := slices.DeleteFunc(slices.Clone(m.objects), func(object spot) bool {
		return object.kind() != "Role" && object.kind() != "RoleBinding" || strings.HasSuffix(object.field("metadata", "name").node.Value, ownSuffix)
	})
	for _, namespace := range o.FurtherNamespaces {
		for _, role := range roles {
			role = m.insert(len(m.objects), role.node)
			name := role.field("metadata", "name").node.Value + "-jobs-" + namespace
			role.set(name, namespacesFlag, "metadata", "name")
			role.set(namespace, namespacesFlag, "metadata", "namespace")
			role.set("true", "", "metadata", "labels", "prefect-keda.io/further-namespace")
			if role.kind() == "RoleBinding" {
				role.set(name, namespacesFlag, "roleRef", "name")
			}
		}
		m.note(namespacesFlag, "Roles in "+namespace+", which you make yourself")
	}
}

func notMade(o Options) string {
	if o.JobNamespace == o.Namespace {
		return "flows share it with scaler and launchers, and may use any Secret in it"
	}
	return "you make the namespace yourself"
}
