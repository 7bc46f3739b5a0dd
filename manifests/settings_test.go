package manifests_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/sethvargo/go-envconfig"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
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
			env[v.Name] = "of-the-secret"
		}
	}
	return named{envconfig.MapLookuper(env), slices.Sorted(maps.Keys(env))}
}

type named struct {
	envconfig.Lookuper
	names []string
}

// ours are the pods that run prefect-keda, by subcommand; of several launchers the base's.
func ours(t *testing.T, objects []*unstructured.Unstructured) map[string]pod {
	t.Helper()
	found := map[string]pod{}
	for _, p := range pods(t, objects) {
		if _, known := found[p.process()]; !known && strings.HasPrefix(p.spec.Containers[0].Image, "ghcr.io/prefect-keda/prefect-keda:") {
			found[p.process()] = p
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
	// Asked for by name, when a flow's author chooses one.
	launching := append(kube.LauncherPermissions(), kube.Permission{Verb: "use", Resource: "serviceaccounts"})
	for _, overlay := range overlays(t) {
		objects := build(t, overlay)
		for process, asked := range map[string][]kube.Permission{"launcher": launching, "scaler": kube.ScalerPermissions()} {
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
// hashed name of the launcher's last ConfigMap must reach it (base/names.yaml).
func TestNames(t *testing.T) {
	for _, overlay := range overlays(t) {
		objects := build(t, overlay)
		for _, p := range pods(t, objects) {
			if p.process() != "launcher" && p.process() != "scaler" {
				continue
			}
			var last string
			for _, from := range p.spec.Containers[0].EnvFrom {
				last = from.ConfigMapRef.Name
				find(t, objects, "ConfigMap", last)
				if hashed := regexp.MustCompile(`-[0-9a-z]{10}$`); !hashed.MatchString(last) {
					t.Errorf("%s: %s: a changed %s would not roll it", overlay, p.of, last)
				}
			}
			for _, o := range objects {
				if target, _, _ := unstructured.NestedString(o.Object, "spec", "scaleTargetRef", "name"); "Deployment "+target != p.of {
					continue
				}
				raw, err := o.MarshalJSON()
				if err != nil || !bytes.Contains(raw, []byte(`"name":"`+last+`"`)) {
					t.Errorf("%s: the trigger of %s does not carry the name %s", overlay, o.GetName(), last)
				}
			}
		}
	}
}

// TestLauncherIsTheSame: the ScaledJob's launcher is the Deployment's, but for
// how it ends; and a further team's, but for its settings.
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
	another := decode[appsv1.Deployment](t, find(t, build(t, "overlays/two-teams"), "Deployment", "prefect-keda-launcher-team-b")).Spec.Template.Spec
	another.Containers[0].EnvFrom = another.Containers[0].EnvFrom[:1]
	if d := cmp.Diff(deployment, another); d != "" {
		t.Errorf("-first team +second team:\n%s", d)
	}
}

// TestTwoTeams: each launcher is scaled by its own ScaledObject, asks for its own
// labels, and is nobody else's pod.
func TestTwoTeams(t *testing.T) {
	objects := build(t, "overlays/two-teams")
	type team struct {
		Labels             config.Labels
		Selector, MaxCount string
	}
	got := map[string]team{}
	for _, p := range pods(t, objects) {
		if p.process() != "launcher" {
			continue
		}
		name := strings.TrimPrefix(p.of, "Deployment ")
		settings, err := config.LoadLauncher(t.Context(), environment(t, objects, p))
		if err != nil {
			t.Error(err)
		}
		selector := decode[appsv1.Deployment](t, find(t, objects, "Deployment", name)).Spec.Selector.MatchLabels
		scaled := find(t, objects, "ScaledObject", name)
		target, _, _ := unstructured.NestedString(scaled.Object, "spec", "scaleTargetRef", "name")
		maxCount, _, _ := unstructured.NestedInt64(scaled.Object, "spec", "maxReplicaCount")
		got[target] = team{settings.Labels, selector["app.kubernetes.io/name"], strconv.FormatInt(maxCount, 10)}
	}
	want := map[string]team{
		"prefect-keda-launcher":        {config.Labels{}, "prefect-keda-launcher", "10"},
		"prefect-keda-launcher-team-b": {config.Labels{"team-b"}, "prefect-keda-launcher-team-b", "5"},
	}
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// agentBlock is the environment `prefect agent kubernetes install` wrote
// (prefect1-spec §5.5), with values, as a user puts it into config.env.
const agentBlock = `PREFECT__CLOUD__AGENT__AUTH_TOKEN=pk
PREFECT__CLOUD__API=http://apollo.prefect:4200
NAMESPACE=flows
IMAGE_PULL_SECRETS=registry
PREFECT__CLOUD__AGENT__LABELS=['b', 'a']
JOB_MEM_REQUEST=1G
JOB_MEM_LIMIT=2G
JOB_CPU_REQUEST=1
JOB_CPU_LIMIT=2
IMAGE_PULL_POLICY=Always
SERVICE_ACCOUNT_NAME=flows
PREFECT__BACKEND=server
PREFECT__CLOUD__AGENT__AGENT_ADDRESS=http://:8080
PREFECT__CLOUD__API_KEY=pk
PREFECT__CLOUD__TENANT_ID=3f0b5a3e-0f6c-4f0e-9a55-0d5a1c1f7b11
PREFECT__CLOUD__AGENT__ENV_VARS={"A": "1, '2'"}
`

// TestAgentBlock: the agent's environment block, put into config.env as it is,
// reaches both processes and the Roles, whatever is built.
func TestAgentBlock(t *testing.T) {
	for _, overlay := range overlays(t) {
		t.Run(overlay, func(t *testing.T) {
			changed := map[string]string{"base/config.env": agentBlock}
			if own := overlay + "/config.env"; exists(own) {
				changed = map[string]string{own: agentBlock}
			}
			objects := buildWith(t, overlay, changed)
			api := "http://apollo.prefect:4200"
			if strings.Contains(overlay, "demo") {
				api = "http://prefect1-api.prefect-keda:4200"
			}
			launcher, err := config.LoadLauncher(t.Context(), environment(t, objects, ours(t, objects)["launcher"]))
			if err != nil {
				t.Error(err)
			}
			scaler, err := config.LoadScaler(t.Context(), environment(t, objects, ours(t, objects)["scaler"]))
			if err != nil {
				t.Error(err)
			}
			type both struct {
				Backend      config.Backend
				API, Key     string
				Tenant       string
				JobNamespace string
			}
			want := both{config.Server, api, "pk", "3f0b5a3e-0f6c-4f0e-9a55-0d5a1c1f7b11", "flows"}
			if d := cmp.Diff(want, both{launcher.Backend, launcher.API, launcher.Key.Reveal(), launcher.TenantID, launcher.Namespace}); d != "" {
				t.Errorf("launcher: -want +got:\n%s", d)
			}
			if d := cmp.Diff(want, both{scaler.Backend, scaler.API, scaler.Key.Reveal(), scaler.TenantID, strings.Join(scaler.JobNamespaces, ",")}); d != "" {
				t.Errorf("scaler: -want +got:\n%s", d)
			}
			jobs := config.Jobs{
				Namespace: "flows", ServiceAccountName: "flows", ImagePullSecrets: config.Names{"registry"},
				EnvVars: config.EnvVars{{Name: "A", Value: "1, '2'"}}, LoggingLevel: "INFO", SendFlowRunLogs: true,
				DeleteFinishedJobs: true, JobTTL: 10 * time.Minute, APIKeySecret: config.SecretKey{Name: "prefect-api-key", Key: "api-key"},
			}
			if limitsFlows(overlay) {
				jobs.PodSecurity = "baseline"
			}
			if d := cmp.Diff(jobs, launcher.Jobs); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			if d := cmp.Diff(config.Labels{"b", "a"}, launcher.Labels); d != "" || launcher.AgentAddress != ":8080" {
				t.Errorf("%s: -want +got:\n%s", launcher.AgentAddress, d)
			}
			for _, o := range objects {
				want := "prefect-keda"
				switch o.GetKind() {
				case "Namespace":
					continue
				case "Role", "RoleBinding":
					want = "flows"
				}
				if o.GetNamespace() != want {
					t.Errorf("%s %s is in namespace %s, want %s", o.GetKind(), o.GetName(), o.GetNamespace(), want)
				}
			}
			names := map[string]bool{}
			for _, v := range ours(t, objects)["launcher"].spec.Containers[0].Env {
				if names[v.Name] || strings.Contains(agentBlock, v.Name+"=") {
					t.Errorf("the launcher's own %s hides or doubles another", v.Name)
				}
				names[v.Name] = true
			}
		})
	}
}

// TestKeyIsWaitedFor: for Prefect Cloud every process waits for its Secret.
func TestKeyIsWaitedFor(t *testing.T) {
	for _, overlay := range overlays(t) {
		objects := build(t, overlay)
		for process, p := range ours(t, objects) {
			i := slices.IndexFunc(p.spec.Containers[0].Env, func(v corev1.EnvVar) bool { return v.Name == "PREFECT_KEDA_API_KEY" })
			want := &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: "prefect-api-key"}, Key: "api-key",
				Optional: new(!strings.Contains(overlay, "prefect-cloud")),
			}
			if d := cmp.Diff(want, p.spec.Containers[0].Env[i].ValueFrom.SecretKeyRef); d != "" {
				t.Errorf("%s: %s: -want +got:\n%s", overlay, process, d)
			}
		}
	}
}

// TestOpsPortIsNotForAll: what it tells of runs is for whom an operator lets in.
func TestOpsPortIsNotForAll(t *testing.T) {
	for _, overlay := range overlays(t) {
		objects := build(t, overlay)
		service := decode[corev1.Service](t, find(t, objects, "Service", "prefect-keda-scaler"))
		if len(service.Spec.Ports) != 1 || service.Spec.Ports[0].Name != "grpc" {
			t.Errorf("%s: the Service has the ports %v", overlay, service.Spec.Ports)
		}
		for _, o := range objects {
			if o.GetKind() != "NetworkPolicy" {
				continue
			}
			np := decode[networkingv1.NetworkPolicy](t, o)
			for _, rule := range np.Spec.Ingress {
				if len(rule.From) == 0 || len(rule.Ports) == 0 {
					t.Errorf("%s: NetworkPolicy %s lets in everybody: %+v", overlay, np.Name, rule)
				}
			}
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestNamespaces: flows run apart from what is ours. Their pods are the agent's,
// which restricted would refuse.
func TestNamespaces(t *testing.T) {
	for _, overlay := range overlays(t) {
		got := map[string]map[string]string{}
		for _, o := range build(t, overlay) {
			if o.GetKind() == "Namespace" {
				got[o.GetName()] = o.GetLabels()
			}
		}
		labels := map[string]string{
			"app.kubernetes.io/part-of":          "prefect-keda",
			"pod-security.kubernetes.io/enforce": "baseline",
			"pod-security.kubernetes.io/audit":   "restricted",
		}
		if d := cmp.Diff(map[string]map[string]string{"prefect-keda": labels, "prefect-flows": labels}, got); d != "" {
			t.Errorf("%s: -want +got:\n%s", overlay, d)
		}
		for process, p := range ours(t, build(t, overlay)) {
			if got, _ := environment(t, build(t, overlay), p).Lookup("NAMESPACE"); got != "prefect-flows" {
				t.Errorf("%s: the %s has the flows' Jobs in %q", overlay, process, got)
			}
		}
	}
}
