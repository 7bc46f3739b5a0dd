package install

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Pod describes the pod of an agent or a worker, without its container's environment and
// command line.
type Pod struct {
	// Account is the pod's service account; empty for the namespace's default.
	Account string
	// AccountAnnotations are the account's, if the text contains the account.
	AccountAnnotations map[string]string
	// Annotations and Labels are the pod's.
	Annotations, Labels map[string]string
	// Mounts are the container's, Volumes the pod's.
	Mounts, Volumes []map[string]any
	// PullSecrets are for its image.
	PullSecrets []string
	// Fields are all other fields of the pod's spec, Container those of its container, by
	// name.
	Fields, Container map[string]any
	// Beside are the names of the other containers, including init containers.
	Beside []string
}

type podSpec struct {
	Containers     []container
	InitContainers []container `yaml:"initContainers"`
	Volumes        []map[string]any
	Account        string         `yaml:"serviceAccountName"`
	PullSecrets    []metadata     `yaml:"imagePullSecrets"`
	Rest           map[string]any `yaml:",inline"`
}

// of describes the pod around the container i.
func (s podSpec) of(i int, m metadata) Pod {
	p := Pod{
		Account: s.Account, Annotations: m.Annotations, Labels: m.Labels,
		Mounts: s.Containers[i].Mounts, Volumes: s.Volumes, Fields: s.Rest, Container: s.Containers[i].Rest,
	}
	for _, secret := range s.PullSecrets {
		p.PullSecrets = append(p.PullSecrets, secret.Name)
	}
	for _, c := range slices.Concat(s.InitContainers, slices.Delete(slices.Clone(s.Containers), i, i+1)) {
		p.Beside = append(p.Beside, c.Name)
	}
	return p
}

// Mounted finds the mount that contains a path of the container, with its volume.
// If several do, it is the innermost, which hides the others.
func (p Pod) Mounted(file string) (mount, volume map[string]any, found bool) {
	longest := ""
	for _, m := range p.Mounts {
		at, _ := m["mountPath"].(string)
		at = path.Clean(at)
		if file != at && !strings.HasPrefix(file, strings.TrimSuffix(at, "/")+"/") || len(at) <= len(longest) {
			continue
		}
		for _, v := range p.Volumes {
			if v["name"] == m["name"] {
				mount, volume, longest, found = m, v, at, true
			}
		}
	}
	return mount, volume, found
}

func (m *manifests) like(object, container spot, o Options) {
	launcher := container.field("name").node.Value == "launcher"
	pod := object.field("spec", "template", "spec")
	for _, f := range o.Mounts {
		if launcher || f.Both {
			container.field("volumeMounts").add(f.Item, f.Flag)
		}
	}
	for _, f := range o.Volumes {
		if launcher || f.Both {
			pod.field("volumes").add(f.Item, f.Flag)
			m.note(f.Flag, fmt.Sprintf("volume %v of %s", f.Item["name"], of(!f.Both)))
		}
	}
	for _, f := range o.Pod {
		pod.set(f.Value, f.Flag, f.Name)
		m.note(f.Flag, f.Name+" of "+of(false))
	}
	for _, f := range o.Annotations {
		if launcher || !f.Launcher {
			object.set(f.Value, f.Flag, "spec", "template", "metadata", "annotations", f.Name)
			m.note(f.Flag, "annotation "+f.Name+" of the pods of "+of(f.Launcher))
		}
	}
}

func of(launcher bool) string {
	if launcher {
		return "the launcher"
	}
	return "both Deployments"
}

func (m *manifests) accounts(o Options) {
	for _, object := range m.objects {
		if object.kind() != "ServiceAccount" || object.field("metadata", "name").node.Value != LauncherAccount {
			continue
		}
		for _, f := range o.AccountAnnotations {
			object.set(f.Value, f.Flag, "metadata", "annotations", f.Name)
			m.note(f.Flag, "annotation "+f.Name+" of service account "+LauncherAccount)
		}
	}
}
