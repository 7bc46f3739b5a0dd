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
		switch {
		case v.ValueFrom == nil:
		case v.ValueFrom.ConfigMapKeyRef != nil:
			of := v.ValueFrom.ConfigMapKeyRef
			env[v.Name] = decode[corev1.ConfigMap](t, find(t, objects, "ConfigMap", of.Name)).Data[of.Key]
		case v.Name == "PREFECT_KEDA_API_HEADERS":
			env[v.Name] = "X-Proxy: of-the-secret"
		default:
			env[v.Name] = "of-the-secret"
		}
	}
	return named{envconfig.MapLookuper(env), slices.Sorted(maps.Keys(env))}
}

type named struct {
	envconfig.Lookuper
	names []string
}

// loaded are the settings of both processes.
func loaded(t *testing.T, objects []*unstructured.Unstructured) (config.Launcher, config.Scaler) {
	t.Helper()
	launcher, err := config.LoadLauncher(t.Context(), environment(t, objects, ours(t, objects)["launcher"]))
	if err != nil {
		t.Error(err)
	}
	scaler, err := config.LoadScaler(t.Context(), environment(t, objects, ours(t, objects)["scaler"]))
	if err != nil {
		t.Error(err)
	}
	return launcher, scaler
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
				known[s.Variable], known[s.Variable3] = true, true
			}
			for _, s := range config.Settings(config.Connection{}) {
				known[config.Connection{Name: "prefect3"}.Variable(s.Variable)] = true
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

// toolPermissions are the rest of the scaler's Role, for commands that people run in its pod.
// The scaler works without them.
func toolPermissions() []kube.Permission {
	return []kube.Permission{
		{Verb: "create", Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews", For: "to check what launchers may do"},
		{Verb: "list", Group: "", Resource: "events", For: "to explain what holds a run up"},
	}
}

// allowed is what a Role allows, in order.
func allowed(role *rbacv1.Role) (all []string) {
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					all = append(all, verb+" "+group+"/"+resource)
				}
			}
		}
	}
	slices.Sort(all)
	return all
}

// TestRoles: the Roles allow exactly what the code asks for at its start, and what
// commands in the scaler's pod do, to exactly the service accounts of the pods.
func TestRoles(t *testing.T) {
	// Asked for by name, when a flow's author chooses one.
	launching := append(kube.LauncherPermissions(), kube.Permission{Verb: "use", Resource: "serviceaccounts"})
	scaling := append(kube.ScalerPermissions(), toolPermissions()...)
	for _, overlay := range overlays(t) {
		objects := build(t, overlay)
		for process, asked := range map[string][]kube.Permission{"launcher": launching, "scaler": scaling} {
			account := ours(t, objects)[process].spec.ServiceAccountName
			find(t, objects, "ServiceAccount", account)
			binding := decode[rbacv1.RoleBinding](t, find(t, objects, "RoleBinding", account))
			if d := cmp.Diff([]rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: "prefect-keda"}}, binding.Subjects); d != "" {
				t.Errorf("%s: %s: -want +got:\n%s", overlay, process, d)
			}
			var want []string
			for _, p := range asked {
				want = append(want, p.Verb+" "+p.Group+"/"+p.Resource)
			}
			got := allowed(decode[rbacv1.Role](t, find(t, objects, "Role", binding.RoleRef.Name)))
			if process == "launcher" && strings.Contains(overlay, "per-job-secrets") {
				want = append(want, "create /secrets", "patch /secrets", "delete /secrets")
			}
			slices.Sort(want)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s: %s: -asked +allowed:\n%s", overlay, process, d)
			}
			if !strings.Contains(overlay, "further-namespaces") {
				continue
			}
			further := account + "-jobs-prefect-flows-2"
			if d := cmp.Diff(want, allowed(decode[rbacv1.Role](t, find(t, objects, "Role", further)))); d != "" {
				t.Errorf("%s: %s: -asked +allowed:\n%s", overlay, further, d)
			}
			if d := cmp.Diff(binding.Subjects, decode[rbacv1.RoleBinding](t, find(t, objects, "RoleBinding", further)).Subjects); d != "" {
				t.Errorf("%s: %s: -want +got:\n%s", overlay, further, d)
			}
		}
	}
}

// Where there are Roles for Events, they are for the pods' accounts, and let nobody but the
// scaler look at more than what an Event is on.
func TestRolesForEvents(t *testing.T) {
	objects := build(t, "base")
	for process, want := range map[string][]string{
		"scaler": {
			"create /events", "get /pods", "get apps/deployments", "get apps/replicasets", "get keda.sh/scaledjobs", "get keda.sh/scaledobjects",
			"list /events", "list /pods", "list keda.sh/scaledjobs", "list keda.sh/scaledobjects", "patch /events",
		},
		"launcher": {"create /events", "get /pods", "get apps/replicasets", "get batch/jobs", "patch /events"},
	} {
		name := "prefect-keda-" + process + "-own"
		binding := decode[rbacv1.RoleBinding](t, find(t, objects, "RoleBinding", name))
		account := ours(t, objects)[process].spec.ServiceAccountName
		if d := cmp.Diff([]rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: "prefect-keda"}}, binding.Subjects); d != "" || binding.RoleRef.Name != name {
			t.Errorf("%s: to %s: -want +got:\n%s", process, binding.RoleRef.Name, d)
		}
		if d := cmp.Diff(want, allowed(decode[rbacv1.Role](t, find(t, objects, "Role", name)))); d != "" {
			t.Errorf("%s: -want +got:\n%s", process, d)
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
// (prefect1 §5.5), with values, as a user puts it into config.env.
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
		if strings.HasPrefix(overlay, "overlays/prefect3-") {
			continue // TestWorkerBlock
		}
		t.Run(overlay, func(t *testing.T) {
			changed := map[string]string{"base/config.env": agentBlock}
			if own := overlay + "/config.env"; exists(own) {
				changed = map[string]string{own: agentBlock}
			}
			objects := buildWith(t, overlay, changed)
			api := "http://apollo.prefect:4200"
			if strings.Contains(overlay, "demo") {
				api = "http://prefect1-api.prefect-keda.svc:4200"
			}
			launcher, scaler := loaded(t, objects)
			type both struct {
				Backend      config.Backend
				API, Key     string
				Tenant       string
				JobNamespace string
			}
			want := both{config.Server, api, "pk", "3f0b5a3e-0f6c-4f0e-9a55-0d5a1c1f7b11", "flows"}
			if d := cmp.Diff(want, both{launcher.Backend, launcher.API.Reveal(), launcher.Key.Reveal(), launcher.TenantID, launcher.Namespace}); d != "" {
				t.Errorf("launcher: -want +got:\n%s", d)
			}
			if d := cmp.Diff(want, both{scaler.Backend, scaler.API.Reveal(), scaler.Key.Reveal(), scaler.TenantID, strings.Join(scaler.JobNamespaces, ",")}); d != "" {
				t.Errorf("scaler: -want +got:\n%s", d)
			}
			jobs := config.Jobs{
				Namespace: "flows", ServiceAccountName: "flows", ImagePullSecrets: config.Names{"registry"},
				EnvVars: config.EnvVars{{Name: "A", Value: "1, '2'"}}, LoggingLevel: "INFO", SendFlowRunLogs: true,
				DeleteFinishedJobs: true, JobTTL: 10 * time.Minute, APIKeySecret: config.SecretKey{Name: "prefect-api-key", Key: "api-key"}, TemplateSecrets: config.InSecret,
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
				if want := placeOf(o, "prefect-keda", "flows"); o.GetNamespace() != want {
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

// workerBlock is what Prefect's chart gives a worker, with values, as a user puts it into
// config.env.
const workerBlock = `PREFECT_API_URL=http://server.prefect:4200/api
PREFECT_API_KEY=pnu
PREFECT_WORKER_PREFETCH_SECONDS=20
PREFECT_WORKER_QUERY_SECONDS=5
PREFECT_API_ENABLE_HTTP2=true
PREFECT_KUBERNETES_CLUSTER_UID=3f0b5a3e-0f6c-4f0e-9a55-0d5a1c1f7b11
PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES=flows,team-a
PREFECT_DEBUG_MODE=false
PREFECT_KEDA_WORK_POOLS=etl
NAMESPACE=flows
`

// TestWorkerBlock: a worker's environment reaches both processes and the Roles.
func TestWorkerBlock(t *testing.T) {
	for _, overlay := range []string{"overlays/prefect3-server", "overlays/prefect3-cloud"} {
		objects := buildWith(t, overlay, map[string]string{overlay + "/config.env": workerBlock})
		launcher, scaler := loaded(t, objects)
		type settings struct {
			Kind       config.Kind
			API        string
			Pools      config.Places
			Lookahead  time.Duration
			Namespaces [][]string
			Key, Auth  config.SecretKey
		}
		want := settings{
			config.Prefect3, "http://server.prefect:4200/api",
			config.Places{"etl"},
			20 * time.Second,
			[][]string{{"flows", "team-a"}, {"flows", "team-a"}},
			config.SecretKey{Name: "prefect-api-key", Key: "api-key"},
			config.SecretKey{Name: "prefect-api-key", Key: "auth-string"},
		}
		got := settings{launcher.Kind, scaler.API.Reveal(), launcher.Pools, launcher.Lookahead, [][]string{launcher.Namespaces(), scaler.AllNamespaces()}, launcher.KeyFrom(), launcher.AuthStringFrom()}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -want +got:\n%s", overlay, d)
		}
		for _, o := range objects {
			if want := placeOf(o, "prefect-keda", "flows"); o.GetNamespace() != want {
				t.Errorf("%s: %s %s is in namespace %s, want %s", overlay, o.GetKind(), o.GetName(), o.GetNamespace(), want)
			}
		}
	}
}

// TestTwoPrefects: each launcher is for one Prefect, and asks by its trigger for its own
// connection; the scaler has both.
func TestTwoPrefects(t *testing.T) {
	objects := build(t, "overlays/prefect1-and-3")
	type side struct {
		Kind                  config.Kind
		API, Key, JobsIn      string
		Connection, Namespace string
	}
	got := map[string]side{}
	for _, p := range pods(t, objects) {
		if p.process() != "launcher" {
			continue
		}
		l, err := config.LoadLauncher(t.Context(), environment(t, objects, p))
		if err != nil {
			t.Errorf("%s: %v", p.of, err)
		}
		scaled := find(t, objects, "ScaledObject", strings.TrimPrefix(p.of, "Deployment "))
		triggers, _, _ := unstructured.NestedSlice(scaled.Object, "spec", "triggers")
		connection, _, _ := unstructured.NestedString(triggers[0].(map[string]any), "metadata", "connection")
		got[scaled.GetName()] = side{l.Kind, l.Address().Reveal(), l.KeyFrom().Name, l.Namespace, connection, l.Home}
	}
	want := map[string]side{
		"prefect-keda-launcher":          {config.Prefect1, "http://prefect-apollo.prefect:4200", "prefect-api-key", "prefect-flows", "", "prefect-keda"},
		"prefect-keda-launcher-prefect3": {config.Prefect3, "http://prefect-server.prefect3:4200/api", "prefect3-api-key", "prefect-flows", "prefect3", "prefect-keda"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("launchers: -want +got:\n%s", d)
	}
	s, err := config.LoadScaler(t.Context(), environment(t, objects, ours(t, objects)["scaler"]))
	if err != nil || s.Kind != config.Prefect1 || len(s.Named) != 1 {
		t.Fatalf("the scaler has %d further connections: %v", len(s.Named), err)
	}
	one := s.Named[0]
	if one.Name != "prefect3" || one.Backend != config.OfPrefect3 || one.APIURL.Reveal() != "http://prefect-server.prefect3:4200/api" || !slices.Equal(one.JobNamespaces, s.JobNamespaces) {
		t.Errorf("the connection is %+v", one)
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
				Optional: new(!strings.Contains(overlay, "-cloud")),
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
