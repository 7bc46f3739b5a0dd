//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/check"
	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/launcher"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// bench is a launcher of this process before a real API server: it acts as the
// ServiceAccount of the manifests, with the Role of the manifests, and Prefect
// is a stand-in in this process as well.
type bench struct {
	*framework.Env
	t       *testing.T
	prefect *prefecttest.API
	url     string
	config  *rest.Config
	// template is the launchers' own; nil for the built-in one.
	template *page
}

// page is a template that can be corrected.
type page struct{ text atomic.Pointer[string] }

// Read is that of kubernetesrun.Source.
func (p *page) Read(context.Context, string) ([]byte, error) { return []byte(*p.text.Load()), nil }

func newBench(t *testing.T) *bench {
	t.Parallel()
	e := suite.Bare(t)
	api := prefecttest.New(prefecttest.Options{})
	return &bench{Env: e, t: t, prefect: api, url: api.Start(t), config: asLauncher(t, e)}
}

// asLauncher is the ServiceAccount of the manifests with their Role. It waits until the API
// server knows the Role, which it learns through a watch of its own: a launcher without its
// Role does not start.
func asLauncher(t *testing.T, e *framework.Env) *rest.Config {
	t.Helper()
	e.InstallOnly("ServiceAccount", "Role", "RoleBinding")
	cfg := actingAs(e, product.Launcher)
	client, err := kube.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	e.Eventually(30*time.Second, "the API server heeds the Role", func(ctx context.Context) (string, bool) {
		_, err := client.NamespaceUID(ctx, e.Flows)
		return fmt.Sprint(err), err == nil
	})
	return cfg
}

// actingAs acts as a ServiceAccount of the scenario.
func actingAs(e *framework.Env, account string) *rest.Config {
	cfg := rest.CopyConfig(suite.Config)
	cfg.Impersonate.UserName = "system:serviceaccount:" + e.Namespace + ":" + account
	return cfg
}

// buildBinary builds prefect-keda for this machine; the image has one for Linux.
func buildBinary(t *testing.T) string {
	t.Helper()
	return compile(t, "../cmd/prefect-keda", "build")
}

// compile makes a program of a package of ours, by the go command's build or test -c.
func compile(t *testing.T, pkg string, command ...string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), filepath.Base(pkg))
	if out, err := exec.CommandContext(t.Context(), "go", append(command, "-o", binary, pkg)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

func (b *bench) settings() kubernetesrun.Settings {
	s := kubernetesrun.Settings{Namespace: b.Flows, Backend: "server", API: b.url, DeleteFinishedJobs: true, TTLSeconds: 600}
	if b.template != nil {
		s.JobTemplate = "template.yaml"
	}
	return s
}

// launcher is ready to run; with idle it leaves when nothing is due any more.
func (b *bench) launcher(name string, idle time.Duration) *launcher.Launcher {
	b.t.Helper()
	backend, err := prefect1.New(prefect1.Options{API: b.url, Backend: prefect1.Server, AgentName: name, RequestTimeout: 10 * time.Second})
	if err != nil {
		b.t.Fatal(err)
	}
	client, err := kube.NewClient(b.config)
	if err != nil {
		b.t.Fatal(err)
	}
	l, err := launcher.New(launcher.Options{
		Name: name, Namespace: b.Flows, Marks: kubernetesrun.Marks(), IdleTimeout: idle, PollInterval: 100 * time.Millisecond, ClaimGrace: time.Second,
	}, backend, kubernetesrun.Renderer{Settings: b.settings(), Source: b.template}, func(namespace string) jobs.Client {
		return jobs.Client{
			Jobs: client.Jobs(namespace), Pods: client.Pods(namespace), Events: client.Events(namespace), Log: client.Logs(namespace), Secrets: client.Secrets(namespace),
			UID: func(ctx context.Context) (string, error) { return client.NamespaceUID(ctx, namespace) },
			MayUse: func(ctx context.Context, account string) (bool, error) {
				return kube.MayUse(ctx, client.Reviews(), namespace, account)
			},
		}
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return l
}

// start runs launchers until the test ends.
func (b *bench) start(launchers ...*launcher.Launcher) {
	b.t.Helper()
	ctx, stop := context.WithCancel(b.t.Context())
	ended := make(chan error)
	for _, l := range launchers {
		go func() { ended <- l.Run(ctx) }()
	}
	b.t.Cleanup(func() {
		stop()
		for range launchers {
			if err := <-ended; err != nil {
				b.t.Errorf("launcher: %v", err)
			}
		}
	})
}

func (b *bench) runs(o prefecttest.Order) []string {
	if o.RunConfig == nil {
		o.RunConfig = framework.NoPods()
	}
	return b.prefect.CreateRuns(o)
}

func (b *bench) waitForState(ids []string, state string) {
	b.t.Helper()
	b.Eventually(time.Minute, fmt.Sprintf("%d flow runs are %s", len(ids), state), func(context.Context) (string, bool) {
		n, other := 0, ""
		for _, r := range b.prefect.Runs(ids...) {
			if r.State == state {
				n++
			} else {
				other = fmt.Sprintf("flow run %s is %s: %s", r.ID, r.State, r.Message)
			}
		}
		return fmt.Sprintf("%d are; %s", n, other), n == len(ids)
	})
}

func (b *bench) logOf(id string) string {
	var lines []string
	for _, l := range b.prefect.Runs(id)[0].Logs {
		lines = append(lines, l.Message)
	}
	return strings.Join(lines, "\n")
}

// Three launchers launch the same runs: the API server is the referee, and the Role of the
// manifests is all they need.
func TestRoleOfTheManifestsSuffices(t *testing.T) {
	b := newBench(t)
	every := framework.NoPods()
	every["env"] = map[string]any{"ONE": "1", "TWO": "2"}
	every["image_pull_secrets"], every["service_account_name"] = []any{"registry"}, "default"
	every["cpu_limit"], every["cpu_request"], every["memory_limit"], every["memory_request"] = "2", "500m", "1Gi", "512Mi"
	runs := append(b.runs(prefecttest.Order{Count: 60}), b.runs(prefecttest.Order{RunConfig: every})...)
	b.start(b.launcher("one", time.Hour), b.launcher("two", time.Hour), b.launcher("three", time.Hour))
	b.waitForState(runs, "Submitted")
	b.WaitForJobs(runs, time.Minute)
	b.AssertOneJobEach(runs)
	if err := checkAccess(t.Context(), b.config, kube.LauncherPermissions(), b.Flows); err != nil {
		t.Error(err)
	}
}

// The permissions that the processes ask for at start-up are those of the
// manifests, and none is missing; without the Role every one is named.
func TestPermissionsAreThoseOfTheManifests(t *testing.T) {
	b := newBench(t)
	scaler := actingAs(b.Env, product.Scaler)
	if err := checkAccess(t.Context(), scaler, kube.ScalerPermissions(), b.Flows); err != nil {
		t.Error(err)
	}
	nobody := actingAs(b.Env, "default")
	err := checkAccess(t.Context(), nobody, kube.LauncherPermissions(), b.Flows)
	var missing *kube.MissingError
	if !errors.As(err, &missing) || len(missing.Missing[b.Flows]) != len(kube.LauncherPermissions()) {
		t.Errorf("without a Role: %v", err)
	}
}

// The check command, as the launcher's ServiceAccount, finds all parts of the manifests in
// order, and names the one part that is not installed.
func TestCheckCommand(t *testing.T) {
	b := newBench(t)
	due := b.runs(prefecttest.Order{Count: 2, Labels: []string{"gpu"}})
	cmd := exec.CommandContext(t.Context(), buildBinary(t), "check", "-o", "json",
		"--kubeconfig", suite.Cluster.Kubeconfig, "--as", b.config.Impersonate.UserName, "--install-namespace", b.Namespace,
		"--backend", "server", "--api", b.url, "--label", "gpu",
		"--namespace", b.Flows)
	cmd.Env = []string{"HOME=" + t.TempDir()}
	out, err := cmd.Output()
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d: %v", code, err)
	}
	var results []check.Result
	if err := json.Unmarshal(out, &results); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	notOK, found := map[string]check.Status{}, map[string]string{}
	for _, r := range results {
		if found[r.Check] = r.Detail; r.Status != check.OK {
			notOK[r.Check] = r.Status
		}
	}
	want := map[string]check.Status{"image pull secrets": check.Skip, "API key Secret": check.Skip, "ScaledObject": check.Fail}
	if d := cmp.Diff(want, notOK); d != "" {
		t.Errorf("-want +got:\n%s\n%s", d, out)
	}
	if got := found["due flow runs"]; !strings.HasPrefix(got, fmt.Sprintf("%d for the labels gpu", len(due))) {
		t.Errorf("due flow runs: %s", got)
	}
	jobs, err := b.Client.BatchV1().Jobs(b.Flows).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(jobs.Items) > 0 {
		t.Errorf("check left Jobs: %v, %v", jobs.Items, err)
	}
}

func checkAccess(ctx context.Context, cfg *rest.Config, permissions []kube.Permission, namespace string) error {
	client, err := kube.NewClient(cfg)
	if err != nil {
		return err
	}
	return kube.Check(ctx, client.Reviews(), permissions, namespace)
}

// A launcher without permission gives up at once and says what its Role lacks.
func TestLauncherWithoutItsRole(t *testing.T) {
	b := newBench(t)
	b.config.Impersonate.UserName = "system:serviceaccount:" + b.Namespace + ":default"
	b.runs(prefecttest.Order{})
	err := b.launcher("one", time.Hour).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "Role in namespace "+b.Flows) {
		t.Errorf("Run: %v; want an error that names the Role and the namespace", err)
	}
	if jobs := b.JobsOf(b.prefect.Runs()[0].ID); len(jobs) > 0 {
		t.Errorf("Jobs: %v", jobs)
	}
}

// The Job's name is the lock: an existing Job under our name counts as ours if it belongs to
// this run, and is left alone if it does not.
func TestNameThatExistsAlready(t *testing.T) {
	b := newBench(t)
	runs := b.runs(prefecttest.Order{Count: 2})
	for _, id := range runs {
		run, err := b.backend().FlowRun(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		made, err := kubernetesrun.Renderer{Settings: b.settings()}.Render(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		j := made.Job
		if id == runs[1] {
			j.Labels[kubernetesrun.LabelFlowRunID] = "of-another-run"
		}
		if _, err := b.Client.BatchV1().Jobs(b.Flows).Create(t.Context(), j, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	b.start(b.launcher("one", time.Hour))
	b.waitForState(runs, "Submitted")
	b.WaitForJobs(runs, time.Minute)
	b.AssertOneJobEach(append(runs, "of-another-run"))
}

func (b *bench) backend() *prefect1.Client {
	b.t.Helper()
	c, err := prefect1.New(prefect1.Options{API: b.url, Backend: prefect1.Server, AgentName: "bench", RequestTimeout: 10 * time.Second})
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// A full quota is not the run's fault: it waits, its log says why, and it goes on when there
// is room.
func TestFullQuota(t *testing.T) {
	b := newBench(t)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "no-jobs"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/jobs.batch": resource.MustParse("0")}},
	}
	quotas := b.Client.CoreV1().ResourceQuotas(b.Flows)
	if _, err := quotas.Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.Eventually(time.Minute, "the quota is in force", func(ctx context.Context) (string, bool) {
		q, err := quotas.Get(ctx, quota.Name, metav1.GetOptions{})
		return fmt.Sprint(q, err), err == nil && len(q.Status.Hard) > 0
	})
	runs := b.runs(prefecttest.Order{Count: 2})
	b.start(b.launcher("one", time.Hour))
	b.Eventually(time.Minute, "the author is told of the quota", func(context.Context) (string, bool) {
		text := b.logOf(runs[0])
		return text, strings.Contains(text, "exceeded quota")
	})
	if err := quotas.Delete(t.Context(), quota.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.WaitForJobs(runs, time.Minute)
	b.AssertOneJobEach(runs)
}

// RBAC decides which service accounts an author may name: with the Role of the manifests all,
// with resourceNames those that the operator lists.
func TestServiceAccountsThatAuthorsName(t *testing.T) {
	b := newBench(t)
	with := func(account string) []string {
		config := framework.NoPods()
		config["service_account_name"] = account
		return b.runs(prefecttest.Order{RunConfig: config})
	}
	b.start(b.launcher("one", time.Hour))
	open := with("data")
	b.waitForState(open, "Submitted")
	patch := `[{"op": "test", "path": "/rules/0/resources/0", "value": "serviceaccounts"}, {"op": "add", "path": "/rules/0/resourceNames", "value": ["default", "named"]}]`
	if _, err := b.Client.RbacV1().Roles(b.Flows).Patch(t.Context(), product.Launcher, types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	client, err := kube.NewClient(b.config)
	if err != nil {
		t.Fatal(err)
	}
	b.Eventually(30*time.Second, "the API server heeds the Role", func(ctx context.Context) (string, bool) {
		allowed, err := kube.MayUse(ctx, client.Reviews(), b.Flows, "other")
		return fmt.Sprint(allowed, err), !allowed && err == nil
	})
	denied, named := with("other"), with("named")
	b.waitForState(denied, "Failed")
	b.waitForState(named, "Submitted")
	if message := b.prefect.Runs(denied[0])[0].Message; !strings.Contains(message, "the service account other is not for flows here") {
		t.Errorf("the author reads: %s", message)
	}
	if jobs := b.JobsOf(denied[0]); len(jobs) > 0 {
		t.Errorf("Jobs of the refused run: %v", jobs)
	}
	launched := append(open, named...)
	b.WaitForJobs(launched, time.Minute)
	b.AssertOneJobEach(launched)
}

// The run's author can read mistakes in a Job that only the API server finds.
func TestJobTheAPIServerRefuses(t *testing.T) {
	b := newBench(t)
	bad := b.runs(prefecttest.Order{RunConfig: framework.KubernetesRun(map[string]any{
		"apiVersion": "batch/v1", "kind": "Job",
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
			"restartPolicy": "Always", "containers": []any{map[string]any{"name": "flow"}},
		}}},
	})})
	good := b.runs(prefecttest.Order{Count: 3})
	b.start(b.launcher("one", time.Hour))
	b.waitForState(bad, "Failed")
	b.waitForState(good, "Submitted")
	r := b.prefect.Runs(bad[0])[0]
	t.Logf("the author reads: %s", r.Message)
	if !strings.Contains(r.Message, "restartPolicy") {
		t.Errorf("the message does not name the field: %s", r.Message)
	}
	if jobs := b.JobsOf(bad[0]); len(jobs) > 0 {
		t.Errorf("Jobs of the refused run: %v", jobs)
	}
}

// The API server takes every overlay as it is. (KEDA's own admission webhook is
// not installed: config/minimal has none.)
func TestEveryOverlayIsTaken(t *testing.T) {
	t.Parallel()
	overlays, err := filepath.Glob(filepath.Join(suite.Root, "manifests/overlays/*"))
	if err != nil || len(overlays) == 0 {
		t.Fatalf("overlays: %v, %v", overlays, err)
	}
	e := suite.Bare(t)
	for _, dir := range append(overlays, filepath.Join(suite.Root, "manifests/base")) {
		name, err := filepath.Rel(filepath.Join(suite.Root, "manifests"), dir)
		if err != nil {
			t.Fatal(err)
		}
		objects, err := product.Render(suite.Root, name, e.Namespace)
		if err != nil {
			t.Fatal(err)
		}
		if err := product.Apply(t.Context(), suite.Dynamic, suite.Mapper, objects, true); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
