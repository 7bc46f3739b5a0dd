package manifests_test

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

func limitsFlows(overlay string) bool {
	return strings.Contains(overlay, "hardened") || strings.Contains(overlay, "flow-limits")
}

// TestFlowLimits: where authors are limited every launcher is, whatever it is
// listed with, and config.env may say how far; where they are not, they get what
// the agent gave them.
func TestFlowLimits(t *testing.T) {
	type limits struct {
		Level    config.PodSecurity
		Accounts []string
	}
	const own = "PREFECT__BACKEND=server\nNAMESPACE=flows\nPREFECT_KEDA_POD_SECURITY=restricted\n"
	for _, overlay := range append(overlays(t), "overlays/two-teams and flow-limits") {
		for _, restricted := range []bool{false, true} {
			files, want := map[string]string{}, limits{}
			if limitsFlows(overlay) {
				want = limits{"baseline", []string{"default"}}
			} else if restricted {
				continue
			}
			if restricted {
				files["base/config.env"], want.Level = own, "restricted"
			}
			folder := overlay
			if of, found := strings.CutSuffix(overlay, " and flow-limits"); found && strings.HasPrefix(of, "overlays/") {
				files[of+"/kustomization.yaml"] = "resources: [../../base]\ncomponents: [team-b, ../../components/flow-limits]\n"
				folder = of
			}
			objects := build(t, folder)
			if len(files) > 0 {
				objects = buildWith(t, folder, files)
			}
			role := decode[rbacv1.Role](t, find(t, objects, "Role", "prefect-keda-launcher"))
			for _, p := range pods(t, objects) {
				if p.process() != "launcher" {
					continue
				}
				settings, err := config.LoadLauncher(t.Context(), environment(t, objects, p))
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(want, limits{settings.PodSecurity, role.Rules[0].ResourceNames}); d != "" {
					t.Errorf("%s: %s: -want +got:\n%s", overlay, p.of, d)
				}
			}
		}
	}
}

// TestNoFlowPassesForOurs: a pod that one of our Services or NetworkPolicies takes
// for its own is ours. A flow's, with a port named grpc, would answer KEDA.
func TestNoFlowPassesForOurs(t *testing.T) {
	for _, overlay := range overlays(t) {
		objects := build(t, overlay)
		for _, o := range objects {
			var selector map[string]string
			switch o.GetKind() {
			case "Service":
				selector = decode[corev1.Service](t, o).Spec.Selector
			case "NetworkPolicy":
				selector = decode[networkingv1.NetworkPolicy](t, o).Spec.PodSelector.MatchLabels
			default:
				continue
			}
			chosen := 0
			for _, p := range pods(t, objects) {
				if labels.SelectorFromSet(selector).Matches(labels.Set(p.meta)) {
					chosen++
				}
			}
			if chosen != 1 {
				t.Errorf("%s: %s %s is for %d kinds of pod", overlay, o.GetKind(), o.GetName(), chosen)
			}
			for name, value := range selector {
				runConfig, err := json.Marshal(map[string]any{"type": "KubernetesRun", "job_template": map[string]any{"spec": map[string]any{"template": map[string]any{
					"metadata": map[string]any{"labels": map[string]string{name: value}}, "spec": map[string]any{},
				}}}})
				if err != nil {
					t.Fatal(err)
				}
				run := prefect.FlowRun{ID: "r", Attempt: "v1", Recipe: recipe.Recipe{RunConfig: runConfig, FlowID: "f", CoreVersion: "1.4.1", Storage: []byte(`{"type": "Local"}`)}}
				_, err = kubernetesrun.Renderer{}.Render(t.Context(), run)
				if _, refused := errors.AsType[*prefect.AuthorError](err); !refused {
					t.Errorf("%s: a flow's pod may have the label %s=%s, which %s %s selects: %v", overlay, name, value, o.GetKind(), o.GetName(), err)
				}
			}
		}
	}
}

// TestMemoryLimits: the page says how many Jobs the limits bear that are shipped, and at what
// rate these may finish.
func TestMemoryLimits(t *testing.T) {
	page, err := os.ReadFile("../docs/tuning.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| (scaler|launcher) \| (\d+) MiB \| ([\d,]+) \| (\d+) runs a second \|$`)
	said := map[string]string{}
	for _, cells := range row.FindAllStringSubmatch(string(page), -1) {
		said[cells[1]] = cells[2] + "Mi"
		jobs, errJobs := strconv.Atoi(strings.ReplaceAll(cells[3], ",", ""))
		rate, errRate := strconv.Atoi(cells[4])
		if err := errors.Join(errJobs, errRate); err != nil {
			t.Fatal(err)
		}
		const ttl = 10 * 60 // seconds, as the page says
		if finish := rate * ttl; finish > jobs || finish < jobs*9/10 {
			t.Errorf("%s: at %d runs a second there are %d finished Jobs, and the page says %d", cells[1], rate, finish, jobs)
		}
	}
	shipped := map[string]string{}
	for _, p := range pods(t, build(t, "base")) {
		shipped[p.process()] = p.spec.Containers[0].Resources.Limits.Memory().String()
	}
	if d := cmp.Diff(shipped, said); d != "" {
		t.Errorf("memory limits: -shipped +said:\n%s", d)
	}
}
