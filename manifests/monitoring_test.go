package manifests_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Each pod of ours, whatever its launcher is called, is scraped by one PodMonitor at a port
// that it has, under a job of its own, and a NetworkPolicy lets Prometheus in.
func TestEveryPodIsScraped(t *testing.T) {
	seen := map[string]bool{}
	for _, with := range []string{"scaledjob", "networkpolicy", "tls", "team-b", "prefect3", "demo", "prefect-cloud"} {
		objects := build(t, with+" and monitoring")
		for _, p := range pods(t, objects) {
			if p.process() != "scaler" && p.process() != "launcher" {
				continue
			}
			var by []string
			for _, o := range objects {
				selector, _, _ := unstructured.NestedStringMap(o.Object, "spec", "selector", "matchLabels")
				if o.GetKind() != "PodMonitor" || !selects(selector, p.meta) {
					continue
				}
				by = append(by, o.GetName())
				label, _, _ := unstructured.NestedString(o.Object, "spec", "jobLabel")
				if p.meta[label] == "" {
					t.Errorf("%s: %s has no label %q for its job", with, p.of, label)
				}
				seen[p.meta[label]] = true
				endpoints, _, _ := unstructured.NestedSlice(o.Object, "spec", "podMetricsEndpoints")
				for _, e := range endpoints {
					port := e.(map[string]any)["port"]
					if !slices.ContainsFunc(p.spec.Containers[0].Ports, func(have corev1.ContainerPort) bool { return have.Name == port }) {
						t.Errorf("%s: %s has no port %v", with, p.of, port)
					}
					if with == "networkpolicy" && !letIn(t, objects, p, port.(string), "monitoring") {
						t.Errorf("%s: nobody lets Prometheus in to %v of %s", with, port, p.of)
					}
				}
			}
			if len(by) != 1 {
				t.Errorf("%s: %s is scraped by %q, want one PodMonitor", with, p.of, by)
			}
		}
	}
	// The alerts take these names for the scaler's and the launchers'.
	for job := range seen {
		if job != "prefect-keda-scaler" && !strings.HasPrefix(job, "prefect-keda-launcher") {
			t.Errorf("the alerts do not know the job %s", job)
		}
	}
	if len(seen) < 4 {
		t.Errorf("found only the jobs %v", seen)
	}
}

func selects(selector, labels map[string]string) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return len(selector) > 0
}

// letIn reports whether a NetworkPolicy lets pods of a namespace in to the port.
func letIn(t *testing.T, objects []*unstructured.Unstructured, p pod, port, namespace string) bool {
	t.Helper()
	for _, o := range objects {
		if o.GetKind() != "NetworkPolicy" {
			continue
		}
		policy := decode[networkingv1.NetworkPolicy](t, o)
		if !selects(policy.Spec.PodSelector.MatchLabels, p.meta) {
			continue
		}
		for _, rule := range policy.Spec.Ingress {
			from := slices.ContainsFunc(rule.From, func(f networkingv1.NetworkPolicyPeer) bool {
				return f.NamespaceSelector != nil && f.NamespaceSelector.MatchLabels[corev1.LabelMetadataName] == namespace
			})
			if from && slices.ContainsFunc(rule.Ports, func(of networkingv1.NetworkPolicyPort) bool { return of.Port.String() == port }) {
				return true
			}
		}
	}
	return false
}

// Without a scaler there is nothing to scrape of it, and no alert that it is gone.
func TestNoAlertsOfAScalerThatIsNotThere(t *testing.T) {
	var left []string
	for _, o := range build(t, "monitoring and always-on") {
		if o.GetKind() == "PodMonitor" || o.GetKind() == "PrometheusRule" {
			left = append(left, o.GetKind()+" "+o.GetName())
		}
	}
	slices.Sort(left)
	if want := []string{"PodMonitor prefect-keda-launcher", "PrometheusRule prefect-keda-launcher"}; !slices.Equal(left, want) {
		t.Errorf("%q are left, want %q", left, want)
	}
}

// The label of docs/install.md, by which a Prometheus selects, reaches what is for it.
func TestPrometheusSelectsByLabel(t *testing.T) {
	page, err := os.ReadFile("../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	const labels = "labels: [{pairs: {release: kube-prometheus-stack}}]"
	if !strings.Contains(string(page), "`"+labels+"`") {
		t.Fatalf("docs/install.md does not say %s", labels)
	}
	seen := 0
	for _, o := range buildWith(t, "overlays/of-somebody", map[string]string{
		"overlays/of-somebody/kustomization.yaml": "resources: [../../base]\ncomponents: [../../components/monitoring]\n" + labels + "\n",
	}) {
		if kind := o.GetKind(); kind == "PodMonitor" || kind == "PrometheusRule" {
			seen++
			if o.GetLabels()["release"] != "kube-prometheus-stack" {
				t.Errorf("%s %s has the labels %v", kind, o.GetName(), o.GetLabels())
			}
		}
	}
	if seen != 4 {
		t.Errorf("found %d objects", seen)
	}
}

// Grafana's sidecar finds the dashboard by its label, under a name that stays.
func TestDashboardIsFound(t *testing.T) {
	objects := buildWith(t, "overlays/of-somebody", map[string]string{
		"overlays/of-somebody/kustomization.yaml": "resources: [../../base]\ncomponents: [../../components/dashboard]\n",
	})
	board := decode[corev1.ConfigMap](t, find(t, objects, "ConfigMap", "prefect-keda-dashboard"))
	if board.Labels["grafana_dashboard"] != "1" || board.Labels["app.kubernetes.io/part-of"] != "prefect-keda" || !json.Valid([]byte(board.Data["prefect-keda.json"])) {
		t.Errorf("the ConfigMap has the labels %v and %d files", board.Labels, len(board.Data))
	}
}
