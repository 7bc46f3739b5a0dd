package manifests_test

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// When a node dies, its pods are replaced after half a minute: all of ours, in every overlay.
func TestPodsLeaveADeadNodeSoon(t *testing.T) {
	for _, overlay := range overlays(t) {
		for _, p := range pods(t, build(t, overlay)) {
			if p.process() != "scaler" && p.process() != "launcher" {
				continue // the stand-in of the demo
			}
			for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
				if d, ok := tolerates(p.spec, key); !ok || d > 30*time.Second {
					t.Errorf("%s: %s tolerates %s for %s (%t); without a toleration Kubernetes makes it five minutes", overlay, p.of, key, d, ok)
				}
			}
		}
	}
}

func tolerates(spec corev1.PodSpec, key string) (d time.Duration, ok bool) {
	for _, t := range spec.Tolerations {
		if t.Key == key && t.Effect == corev1.TaintEffectNoExecute && t.Operator == corev1.TolerationOpExists && t.TolerationSeconds != nil {
			return time.Duration(*t.TolerationSeconds) * time.Second, true
		}
	}
	return 0, false
}

// With the component there are two scalers, on nodes of their own as far as there are some,
// and a drain leaves one of them.
func TestHighAvailability(t *testing.T) {
	objects := buildWith(t, "overlays/of-somebody", map[string]string{
		"overlays/of-somebody/kustomization.yaml": "resources: [../../base]\ncomponents: [../../components/ha, ../two-teams/team-b]\n",
	})
	scalers := labels.Set{}
	for _, o := range objects {
		if o.GetKind() != "Deployment" {
			continue
		}
		d := decode[appsv1.Deployment](t, o)
		set := labels.Set(d.Spec.Template.Labels)
		spread := d.Spec.Template.Spec.TopologySpreadConstraints
		if len(spread) != 1 || spread[0].TopologyKey != corev1.LabelHostname || spread[0].WhenUnsatisfiable != corev1.ScheduleAnyway || !picks(t, spread[0].LabelSelector, set) {
			t.Errorf("%s is not spread over nodes: %+v", d.Name, spread)
		}
		if d.Name == "prefect-keda-scaler" {
			if scalers = set; d.Spec.Replicas == nil || *d.Spec.Replicas != 2 {
				t.Errorf("%s has %v replicas, want 2", d.Name, d.Spec.Replicas)
			}
		}
	}
	for _, o := range objects {
		if o.GetKind() == "PodDisruptionBudget" {
			b := decode[policyv1.PodDisruptionBudget](t, o)
			if !picks(t, b.Spec.Selector, scalers) || b.Spec.MaxUnavailable == nil || b.Spec.MaxUnavailable.IntValue() != 1 {
				t.Errorf("the budget is not for the scalers, or lets both go: %+v", b.Spec)
			}
			if p := b.Spec.UnhealthyPodEvictionPolicy; p == nil || *p != policyv1.AlwaysAllow {
				t.Errorf("scalers that are not ready hold up a drain: %+v", b.Spec)
			}
			return
		}
	}
	t.Error("there is no PodDisruptionBudget")
}

func picks(t *testing.T, s *metav1.LabelSelector, set labels.Set) bool {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(set) && !selector.Matches(labels.Set{})
}
