package manifests_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/prefect-keda/prefect-keda/config"
)

// elsewhere is a kustomization that puts everything into team-a and team-a-flows.
const elsewhere = `
resources: [../../base]
configMapGenerator:
  - name: prefect-keda
    namespace: prefect-keda
    behavior: merge
    literals: [PREFECT_KEDA_NAMESPACE=team-a, NAMESPACE=team-a-flows]
components: [%s]
`

// TestOtherNamespaces: said in one place, nothing is left that names the namespaces of
// another installation, whatever is listed in whatever order.
func TestOtherNamespaces(t *testing.T) {
	var lists [][]string
	for _, c := range append(folders(t, "components"), "team-b", "prefect3") {
		if c == "mtls" {
			lists = append(lists, []string{"tls", "mtls", "own-namespaces"}, []string{"own-namespaces", "tls", "mtls"})
			continue
		}
		lists = append(lists, []string{c, "own-namespaces"})
		if c != "demo" { // which merges into the ConfigMap where that was, and fails
			lists = append(lists, []string{"own-namespaces", c})
		}
	}
	for _, listed := range lists {
		t.Run(strings.Join(listed, " "), func(t *testing.T) {
			for _, o := range buildWith(t, "overlays/of-somebody", map[string]string{
				"overlays/of-somebody/kustomization.yaml": fmt.Sprintf(elsewhere, strings.Join(folderOf(slices.Compact(listed)), ", ")),
			}) {
				name := o.GetKind() + " " + o.GetName()
				if o.GetKind() == "Namespace" {
					t.Errorf("%s is made, and deleted with what it holds", name)
				}
				if want := placeOf(o, "team-a", "team-a-flows"); o.GetNamespace() != want {
					t.Errorf("%s is in %s, want %s", name, o.GetNamespace(), want)
				}
				for _, field := range strayed(o.Object, "") {
					t.Errorf("%s: %s", name, field)
				}
			}
		})
	}
}

// strayed are the fields that name one of the default namespaces.
func strayed(value any, path string) []string {
	var all []string
	switch v := value.(type) {
	case map[string]any:
		for key, field := range v {
			all = append(all, strayed(field, path+"."+key)...)
		}
	case []any:
		for i, item := range v {
			all = append(all, strayed(item, fmt.Sprintf("%s.%d", path, i))...)
		}
	case string:
		ends := strings.HasSuffix(path, ".namespace") && (v == "prefect-keda" || v == "prefect-flows")
		if ends || strings.Contains(v, ".prefect-keda") || strings.Contains(v, ".prefect-flows") || strings.HasSuffix(path, "NAMESPACE") && !strings.HasPrefix(v, "team-a") {
			all = append(all, path+" is "+v)
		}
	}
	return all
}

// TestKustomizesNamespaceIsRefused: it would move a half; what kustomize says then tells
// what to do instead.
func TestKustomizesNamespaceIsRefused(t *testing.T) {
	for _, base := range []string{"../../base", "../hardened"} {
		_, err := tryBuild(t, "overlays/of-somebody", map[string]string{
			"overlays/of-somebody/kustomization.yaml": "namespace: team-a\nresources: [" + base + "]\n",
		})
		if err == nil || !strings.Contains(err.Error(), "Set PREFECT_KEDA_NAMESPACE and NAMESPACE") {
			t.Errorf("%s: %v", base, err)
		}
	}
}

// TestAKustomizationElsewhere: the form that GitOps keeps. docs/install.md shows it; here the
// repository is this tree, in a git repository of its own, with a tag.
func TestAKustomizationElsewhere(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatal("git is needed, as kustomize needs it for URLs")
	}
	dir := t.TempDir()
	repository := filepath.Join(dir, "prefect-keda")
	if err := os.CopyFS(filepath.Join(repository, "manifests"), os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"commit", "-q", "-m", "all"}, {"tag", "v1.0.0"}} {
		git := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.com", "-C", repository}, args...)...)
		if out, err := git.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	example := documented(t, "gitops")
	own := strings.ReplaceAll(example, "https://github.com/prefect-keda/prefect-keda//", "file://"+repository+"//")
	if own == example || strings.Count(strings.TrimSpace(example), "\n") > 12 {
		t.Fatalf("the example takes nothing by URL, or is long:\n%s", example)
	}
	folder := filepath.Join(dir, "own")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(own), 0o644); err != nil {
		t.Fatal(err)
	}
	rendered, err := krusty.MakeKustomizer(asKubectl()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatal(err)
	}
	objects := unwrapped(t, rendered)
	all := pods(t, objects)
	environment := environment(t, objects, all[slices.IndexFunc(all, func(p pod) bool { return p.process() == "launcher" })])
	for variable, want := range map[string]string{"PREFECT_API_URL": "http://prefect.example.com:4200/api", "PREFECT_KEDA_WORK_POOLS": "etl", "NAMESPACE": "etl-flows"} {
		if got, _ := environment.Lookup(variable); got != want {
			t.Errorf("%s is %q, want %q", variable, got, want)
		}
	}
	if got := find(t, objects, "Role", "prefect-keda-launcher").GetNamespace(); got != "etl-flows" {
		t.Errorf("the launcher's Role is in %s", got)
	}
	if got := find(t, objects, "ScaledObject", "prefect-keda-launcher").GetNamespace(); got != "etl" {
		t.Errorf("the ScaledObject is in %s", got)
	}
}

// documented is an example of docs/install.md, between its marks.
func documented(t *testing.T, name string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, begun := strings.Cut(string(page), "<!-- "+name+":begin")
	_, rest, fenced := strings.Cut(rest, "```yaml\n")
	example, _, ended := strings.Cut(rest, "```\n<!-- "+name+":end -->")
	if !begun || !fenced || !ended {
		t.Fatalf("docs/install.md has no example between %s:begin and %s:end", name, name)
	}
	return example
}

// TestAnyOrder: two components make the same in both orders, or one of them refuses.
func TestAnyOrder(t *testing.T) {
	refused := map[string]bool{
		"tls after always-on": true, "scaledjob after always-on": true, "team-b after always-on": true,
		"always-on after scaledjob": true, "team-b after scaledjob": true,
		"further-namespaces after always-on": true, "monitoring after always-on": true,
	}
	components := append(slices.DeleteFunc(folders(t, "components"), func(c string) bool { return c == "mtls" || c == "namespaces" }), "team-b")
	for i, one := range components {
		for _, two := range components[:i] {
			orders := map[string][]*unstructured.Unstructured{}
			for _, listed := range [][2]string{{one, two}, {two, one}} {
				name := listed[1] + " after " + listed[0]
				objects, err := tryBuild(t, listed[0]+" and "+listed[1], nil)
				if refused[name] {
					if err == nil || !strings.Contains(err.Error(), "nothing selected by") {
						t.Errorf("%s: %v", name, err)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				slices.SortFunc(objects, func(a, b *unstructured.Unstructured) int {
					return strings.Compare(a.GetKind()+a.GetName(), b.GetKind()+b.GetName())
				})
				orders[name] = slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool {
					// A policy or a budget for a scaler that is not there hurts nobody.
					return (one == "always-on" || two == "always-on") && (o.GetKind() == "NetworkPolicy" || o.GetKind() == "PodDisruptionBudget")
				})
			}
			a, b := orders[two+" after "+one], orders[one+" after "+two]
			if a == nil || b == nil {
				continue
			}
			unordered := cmpopts.SortSlices(func(a, b any) bool { return fmt.Sprint(a) < fmt.Sprint(b) }) // variables
			if d := cmp.Diff(a, b, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == `["env"]` }, unordered)); d != "" {
				t.Errorf("-%s after %s +%s after %s:\n%s", two, one, one, two, d)
			}
		}
	}
	if _, err := tryBuild(t, "overlays/of-somebody", map[string]string{
		"overlays/of-somebody/kustomization.yaml": "resources: [../../base]\ncomponents: [../../components/mtls, ../../components/tls]\n",
	}); err == nil || !strings.Contains(err.Error(), "nothing selected by TriggerAuthentication") {
		t.Errorf("mtls before tls: %v", err)
	}
}

// TestAlwaysOn: one launcher that never leaves and nothing that needs KEDA, with limits and
// further teams too.
func TestAlwaysOn(t *testing.T) {
	for overlay, launchers := range map[string]int{"overlays/always-on": 1, "flow-limits and always-on": 1, "tls and always-on": 1, "ha and always-on": 1, "team-b and always-on": 2} {
		objects := buildWith(t, overlay, nil)
		for _, o := range objects {
			if strings.Contains(o.GroupVersionKind().Group, "keda") || strings.Contains(o.GetName(), "scaler") {
				t.Errorf("%s: %s %s is left", overlay, o.GetKind(), o.GetName())
			}
		}
		found := pods(t, objects)
		for _, p := range found {
			settings, err := config.LoadLauncher(t.Context(), environment(t, objects, p))
			if err != nil || settings.IdleTimeout != 0 {
				t.Errorf("%s: %s leaves after %s: %v", overlay, p.of, settings.IdleTimeout, err)
			}
			deployment := decode[appsv1.Deployment](t, find(t, objects, "Deployment", strings.TrimPrefix(p.of, "Deployment ")))
			if deployment.Spec.Replicas == nil || *deployment.Spec.Replicas != 1 {
				t.Errorf("%s: %s has %v replicas", overlay, p.of, deployment.Spec.Replicas)
			}
		}
		if len(found) != launchers {
			t.Errorf("%s has %d launchers, want %d", overlay, len(found), launchers)
		}
	}
}

// TestReplicasAreKEDAs: whoever applies again sets no number of launchers back.
func TestReplicasAreKEDAs(t *testing.T) {
	for _, overlay := range overlays(t) {
		for _, o := range build(t, overlay) {
			if _, set, _ := unstructured.NestedInt64(o.Object, "spec", "replicas"); set && strings.Contains(o.GetName(), "launcher") {
				t.Errorf("%s: %s %s says how many launchers there are", overlay, o.GetKind(), o.GetName())
			}
		}
	}
}

// TestTriggerAuthenticationComesFirst: KEDA keeps an empty one where it meets the
// ScaledObject before.
func TestTriggerAuthenticationComesFirst(t *testing.T) {
	seen := 0
	for _, folder := range folders(t, "overlays") {
		var before bool
		for _, o := range build(t, "overlays/"+folder) {
			switch o.GetKind() {
			case "TriggerAuthentication":
				seen++
				if before {
					t.Errorf("%s: it comes after what names it", folder)
				}
			case "ScaledObject", "ScaledJob":
				before = true
			}
		}
	}
	if seen == 0 {
		t.Error("no overlay has one")
	}
}
