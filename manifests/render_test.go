// Package manifests holds what kubectl apply -k installs. There is no code here
// yet; the tests build every overlay and hold it against what is true elsewhere:
// Kubernetes' and KEDA's schemas, the restricted Pod Security Standard, the settings
// there are, the permissions the code asks for.
package manifests_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// overlays are the root, everything below overlays/, and every two components in
// both orders, as somebody would list them in a kustomization of his own. Those that
// have no scaler (always-on) or no namespace of ours (own-namespaces) have their own tests.
func overlays(t *testing.T) []string {
	t.Helper()
	all := []string{"."}
	for _, name := range folders(t, "overlays") {
		if name != "always-on" {
			all = append(all, "overlays/"+name)
		}
	}
	components := slices.DeleteFunc(folders(t, "components"), func(c string) bool { return c == "always-on" || c == "namespaces" || c == "own-namespaces" })
	if len(all) < 6 || len(components) < 6 {
		t.Fatalf("only %q and %q found", all, components)
	}
	for _, one := range components {
		for _, two := range components {
			if one != two {
				all = append(all, one+" and "+two)
			}
		}
	}
	return all
}

func folders(t *testing.T, of string) []string {
	t.Helper()
	entries, err := os.ReadDir(of)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// built keeps what was built, which takes most of the tests' time.
var built = map[string][]*unstructured.Unstructured{}

// build is what `kubectl kustomize` prints, as objects.
func build(t *testing.T, overlay string) []*unstructured.Unstructured {
	t.Helper()
	if built[overlay] == nil {
		built[overlay] = buildWith(t, overlay, nil)
	}
	var objects []*unstructured.Unstructured
	for _, o := range built[overlay] {
		objects = append(objects, o.DeepCopy())
	}
	return objects
}

// buildWith is build with other texts in some files.
func buildWith(t *testing.T, overlay string, files map[string]string) []*unstructured.Unstructured {
	t.Helper()
	objects, err := tryBuild(t, overlay, files)
	if err != nil {
		t.Fatalf("build %s: %v", overlay, err)
	}
	return objects
}

// tryBuild is buildWith where kustomize may refuse.
func tryBuild(t *testing.T, overlay string, files map[string]string) ([]*unstructured.Unstructured, error) {
	t.Helper()
	memory := filesys.MakeFsInMemory()
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		return errors.Join(err, memory.WriteFile("manifests/"+path, text))
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range files {
		if err := memory.WriteFile("manifests/"+path, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if one, two, combined := strings.Cut(overlay, " and "); combined {
		listed := []string{one, two}
		if slices.Contains(listed, "mtls") { // it is for what tls brings
			listed = append([]string{"tls"}, slices.DeleteFunc(listed, func(c string) bool { return c == "tls" })...)
		}
		text := "resources: [../../base]\ncomponents: [" + strings.Join(folderOf(listed), ", ") + "]\n"
		overlay = "overlays/of-somebody"
		if err := memory.WriteFile("manifests/"+overlay+"/kustomization.yaml", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	rendered, err := krusty.MakeKustomizer(asKubectl()).Run(memory, filepath.Join("manifests", overlay))
	if err != nil {
		return nil, err
	}
	return unwrapped(t, rendered), nil
}

func unwrapped(t *testing.T, rendered resmap.ResMap) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for _, r := range rendered.Resources() {
		raw, err := r.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(raw); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, object)
	}
	return objects
}

// folderOf is where components are, as an overlay lists them.
func folderOf(components []string) []string {
	var all []string
	for _, c := range components {
		switch c {
		case "team-b":
			all = append(all, "../two-teams/team-b")
		case "prefect3":
			all = append(all, "../prefect1-and-3/prefect3")
		default:
			all = append(all, "../../components/"+c)
		}
	}
	return all
}

// find returns the one object of a kind and name.
func find(t *testing.T, objects []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	t.Helper()
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == kind && o.GetName() == name })
	if i < 0 {
		t.Fatalf("there is no %s %s", kind, name)
	}
	return objects[i]
}

// decode is strict: a misspelt field is an error, as with kubectl's validation.
func decode[T any](t *testing.T, o *unstructured.Unstructured) *T {
	t.Helper()
	raw, err := o.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	typed := new(T)
	strict, err := kjson.UnmarshalStrict(raw, typed)
	if err != nil || len(strict) > 0 {
		t.Errorf("%s %s: %v %v", o.GetKind(), o.GetName(), err, strict)
	}
	return typed
}

// pod is a pod that an object leads to.
type pod struct {
	of   string
	spec corev1.PodSpec
	meta map[string]string
}

// process is our subcommand.
func (p pod) process() string {
	if args := p.spec.Containers[0].Args; len(args) > 0 {
		return args[0]
	}
	return ""
}

func pods(t *testing.T, objects []*unstructured.Unstructured) []pod {
	t.Helper()
	var all []pod
	for _, o := range objects {
		var template corev1.PodTemplateSpec
		switch o.GetKind() {
		case "Deployment":
			template = decode[appsv1.Deployment](t, o).Spec.Template
		case "ScaledJob":
			target, _, _ := unstructured.NestedMap(o.Object, "spec", "jobTargetRef")
			wrapped := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "batch/v1", "kind": "Job", "spec": target}}
			template = decode[batchv1.Job](t, wrapped).Spec.Template
		default:
			continue
		}
		all = append(all, pod{o.GetKind() + " " + o.GetName(), template.Spec, template.Labels})
	}
	return all
}

// TestDecodes holds every built-in object against its Go type.
func TestDecodes(t *testing.T) {
	for _, overlay := range overlays(t) {
		t.Run(overlay, func(t *testing.T) {
			for _, o := range build(t, overlay) {
				switch gvk := o.GroupVersionKind(); gvk.Group + "/" + gvk.Version + " " + gvk.Kind {
				case "/v1 Namespace":
					decode[corev1.Namespace](t, o)
				case "/v1 ConfigMap":
					decode[corev1.ConfigMap](t, o)
				case "/v1 Service":
					decode[corev1.Service](t, o)
				case "/v1 ServiceAccount":
					decode[corev1.ServiceAccount](t, o)
				case "apps/v1 Deployment":
					decode[appsv1.Deployment](t, o)
				case "rbac.authorization.k8s.io/v1 Role":
					decode[rbacv1.Role](t, o)
				case "rbac.authorization.k8s.io/v1 RoleBinding":
					decode[rbacv1.RoleBinding](t, o)
				case "networking.k8s.io/v1 NetworkPolicy":
					decode[networkingv1.NetworkPolicy](t, o)
				case "policy/v1 PodDisruptionBudget":
					decode[policyv1.PodDisruptionBudget](t, o)
				case "keda.sh/v1alpha1 ScaledObject", "keda.sh/v1alpha1 ScaledJob", "keda.sh/v1alpha1 TriggerAuthentication":
					// TestKEDASchema
				case "monitoring.coreos.com/v1 PodMonitor", "monitoring.coreos.com/v1 PrometheusRule":
					// hack/monitoring, in a module of its own for the types of the Prometheus operator
				default:
					t.Errorf("%s is a kind this test does not know", gvk)
				}
				if want := placeOf(o, "prefect-keda", "prefect-flows"); o.GetNamespace() != want {
					t.Errorf("%s %s is in namespace %q, want %q", o.GetKind(), o.GetName(), o.GetNamespace(), want)
				}
			}
		})
	}
}

// placeOf is the namespace that an object belongs into, with those of the two processes and
// of the Jobs. The Roles of a further namespace are named after it.
func placeOf(o *unstructured.Unstructured, home, jobs string) string {
	switch kind := o.GetKind(); {
	case kind == "Namespace":
		return ""
	case kind != "Role" && kind != "RoleBinding" || strings.HasSuffix(o.GetName(), "-own"):
		return home
	}
	if _, further, named := strings.Cut(o.GetName(), "-jobs-"); named {
		return further
	}
	return jobs
}

// asKubectl are the options that kubectl builds with.
func asKubectl() *krusty.Options {
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionUnspecified // legacy, unless a kustomization says another order
	return options
}
