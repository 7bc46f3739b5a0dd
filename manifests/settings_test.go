package manifests_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sethvargo/go-envconfig"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/kube"
)

// environment is what a pod's first container sees; for a secret there is a stand-in.
func environment(t *testing.T, objects []*unstructured.Unstructured, p pod) envconfig.Lookuper {
	t.Helper()
	env := map[string]string{}
	for _, from := range p.spec.Containers[0].EnvFrom {
		maps.Copy(env, decode[corev1.ConfigMap](t, find(t, objects, "ConfigMap", from.ConfigMapRef.Name)).Data)
	}
	for _, v := range p.spec.Containers[0].Env {
		env[v.Name] = v.Value
		if v.ValueFrom != nil {
			env[v.Name] = v.Name[strings.LastIndex(v.Name, "_")+1:]
			if v.ValueFrom.FieldRef != nil {
				env[v.Name] = "prefect-keda"
			}
		}
	}
	return named{envconfig.MapLookuper(env), slices.Sorted(maps.Keys(env))}
}

type named struct {
	envconfig.Lookuper
	names []string
}

// ours are the pods that run prefect-keda, by subcommand.
func ours(t *testing.T, objects []*unstructured.Unstructured) map[string]pod {
	t.Helper()
	found := map[string]pod{}
	for _, p := range pods(t, objects) {
		if strings.HasPrefix(p.spec.Containers[0].Image, "ghcr.io/prefect-keda/prefect-keda:") {
			found[p.spec.Containers[0].Args[0]] = p
		}
	}
	if d := cmp.Diff([]string{"launcher", "scaler"}, slices.Sorted(maps.Keys(found))); d != "" {
		t.Fatalf("-want +got:\n%s", d)
	}
	return found
}

// TestSettings: the shipped settings load, and each one is read by one of the
// two processes.
func TestSettings(t *testing.T) {
	for _, overlay := range overlays(t) {
		t.Run(overlay, func(t *testing.T) {
			objects := build(t, overlay)
			found := ours(t, objects)
			known := map[string]bool{}
			for _, s := range slices.Concat(config.Settings(config.Launcher{}), config.Settings(config.Scaler{})) {
				known[s.Variable] = true
			}
			for process, p := range found {
				for _, name := range environment(t, objects, p).(named).names {
					if !known[name] {
						t.Errorf("%s: nothing reads %s", process, name)
					}
				}
			}
			if _, err := config.LoadLauncher(t.Context(), environment(t, objects, found["launcher"])); err != nil {
				t.Errorf("launcher: %v", err)
			}
			if _, err := config.LoadScaler(t.Context(), environment(t, objects, found["scaler"])); err != nil {
				t.Errorf("scaler: %v", err)
			}
		})
	}
}

// TestOneVersion: the images have one tag, written in one place, and never latest.
func TestOneVersion(t *testing.T) {
	for _, overlay := range overlays(t) {
		images := map[string]bool{}
		for _, p := range pods(t, build(t, overlay)) {
			_, tag, found := strings.Cut(p.spec.Containers[0].Image, ":")
			if !found || tag == "latest" {
				t.Errorf("%s: %s has the image %s", overlay, p.of, p.spec.Containers[0].Image)
			}
			images[p.spec.Containers[0].Image] = true
		}
		if len(images) > 2 {
			t.Errorf("%s has images %v", overlay, images)
		}
	}
	tag := regexp.MustCompile(`newTag:|image: *\S+:\S+`)
	var places []string
	err := filepath.WalkDir(".", func(path string, entry os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".yaml" {
			return err
		}
		raw, err := os.ReadFile(path)
		for range tag.FindAll(raw, -1) {
			places = append(places, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// The stand-in API is another image, and the demo's business.
	if d := cmp.Diff([]string{"base/kustomization.yaml", "components/demo/kustomization.yaml"}, places); d != "" {
		t.Errorf("tags are written in: -want +got:\n%s", d)
	}
}

// TestRestricted holds every pod we install against the strictest Pod Security
// Standard, and against what we ask of ourselves beyond it.
func TestRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for _, overlay := range overlays(t) {
		for _, p := range pods(t, build(t, overlay)) {
			spec := p.spec
			if got := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &metav1.ObjectMeta{Labels: p.meta}, &spec)); !got.Allowed {
				t.Errorf("%s: %s is not restricted: %s", overlay, p.of, got.ForbiddenDetail())
			}
			c := spec.Containers[0]
			if len(spec.Containers) != 1 || c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
				t.Errorf("%s: %s can write to its root filesystem", overlay, p.of)
			}
			if _, limited := c.Resources.Limits[corev1.ResourceCPU]; limited || c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
				t.Errorf("%s: %s wants requests, a memory limit and no CPU limit: %v", overlay, p.of, c.Resources)
			}
			if c.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError || spec.AutomountServiceAccountToken == nil || *spec.EnableServiceLinks {
				t.Errorf("%s: %s: set terminationMessagePolicy, automountServiceAccountToken and enableServiceLinks: false", overlay, p.of)
			}
		}
	}
}

// TestRoles: the Roles allow exactly what the code asks for at its start, to
// exactly the service accounts of the pods.
func TestRoles(t *testing.T) {
	for _, overlay := range overlays(t) {
		objects := build(t, overlay)
		for process, asked := range map[string][]kube.Permission{"launcher": kube.LauncherPermissions(), "scaler": kube.ScalerPermissions()} {
			account := ours(t, objects)[process].spec.ServiceAccountName
			find(t, objects, "ServiceAccount", account)
			binding := decode[rbacv1.RoleBinding](t, find(t, objects, "RoleBinding", account))
			if d := cmp.Diff([]rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: "prefect-keda"}}, binding.Subjects); d != "" {
				t.Errorf("%s: %s: -want +got:\n%s", overlay, process, d)
			}
			var want, got []string
			for _, p := range asked {
				want = append(want, p.Verb+" "+p.Group+"/"+p.Resource)
			}
			for _, rule := range decode[rbacv1.Role](t, find(t, objects, "Role", binding.RoleRef.Name)).Rules {
				for _, group := range rule.APIGroups {
					for _, resource := range rule.Resources {
						for _, verb := range rule.Verbs {
							got = append(got, verb+" "+group+"/"+resource)
						}
					}
				}
			}
			slices.Sort(want)
			slices.Sort(got)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s: %s: -asked +allowed:\n%s", overlay, process, d)
			}
		}
	}
}

// TestNames: KEDA reads labels anew only when the ScaledObject changes, so the
// hashed name of the ConfigMap must reach it (base/names.yaml).
func TestNames(t *testing.T) {
	for _, overlay := range overlays(t) {
		objects := build(t, overlay)
		for _, p := range ours(t, objects) {
			name := p.spec.Containers[0].EnvFrom[0].ConfigMapRef.Name
			find(t, objects, "ConfigMap", name)
			if name == "prefect-keda" {
				t.Errorf("%s: %s: a changed config.env would not roll it", overlay, p.of)
			}
			for _, o := range objects {
				if o.GetKind() != "ScaledObject" {
					continue
				}
				raw, err := o.MarshalJSON()
				if err != nil || !bytes.Contains(raw, []byte(`"name":"`+name+`"`)) {
					t.Errorf("%s: the ScaledObject's trigger does not carry the name %s", overlay, name)
				}
			}
		}
	}
}

// TestLauncherIsTheSame: the ScaledJob's launcher is the Deployment's, but for
// how it ends.
func TestLauncherIsTheSame(t *testing.T) {
	deployment := ours(t, build(t, "."))["launcher"].spec
	scaledjob := ours(t, build(t, "overlays/scaledjob"))["launcher"].spec
	scaledjob.RestartPolicy = deployment.RestartPolicy
	c := &scaledjob.Containers[0]
	last := len(c.Env) - 1
	if c.Env[last].Name != "PREFECT_KEDA_IDLE_TIMEOUT" {
		t.Errorf("the last variable is %v", c.Env[last])
	}
	c.Env = c.Env[:last]
	if d := cmp.Diff(deployment, scaledjob); d != "" {
		t.Errorf("-Deployment +ScaledJob:\n%s", d)
	}
}

// TestNamespace: the flows' pods are the agent's, which restricted would refuse.
func TestNamespace(t *testing.T) {
	got := find(t, build(t, "."), "Namespace", "prefect-keda").GetLabels()
	want := map[string]string{
		"app.kubernetes.io/part-of":          "prefect-keda",
		"pod-security.kubernetes.io/enforce": "baseline",
		"pod-security.kubernetes.io/audit":   "restricted",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
