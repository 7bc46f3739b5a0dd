package framework

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/prefect-keda/prefect-keda/e2e/product"
)

// Change changes the manifests before they are installed.
type Change func([]*unstructured.Unstructured) []*unstructured.Unstructured

// FastFeedback makes KEDA poll every second and scale to zero after five.
func FastFeedback() Change {
	objects := each("ScaledObject", func(o *unstructured.Unstructured) {
		set(o, int64(1), "spec", "pollingInterval")
		set(o, int64(5), "spec", "cooldownPeriod")
		set(o, int64(0), "spec", "initialCooldownPeriod")
		set(o, int64(5), "spec", "advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleDown", "stabilizationWindowSeconds")
	})
	jobs := each("ScaledJob", func(o *unstructured.Unstructured) {
		set(o, int64(1), "spec", "pollingInterval")
		setEnv(o, "PREFECT_KEDA_IDLE_TIMEOUT", "5s")
	})
	return func(all []*unstructured.Unstructured) []*unstructured.Unstructured { return jobs(objects(all)) }
}

// PushOnly makes KEDA poll so seldom that only a push can wake a launcher. KEDA does not
// take one away either: see TakeDown.
func PushOnly() Change {
	return each("ScaledObject", func(o *unstructured.Unstructured) { set(o, int64(300), "spec", "pollingInterval") })
}

func seldom(scaledObject *unstructured.Unstructured) bool {
	interval, _, _ := unstructured.NestedInt64(scaledObject.Object, "spec", "pollingInterval")
	return interval > 60
}

// withStandIn adds the demo overlay's stand-in API to an overlay without one.
func withStandIn(demo []*unstructured.Unstructured) Change {
	return func(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
		if slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetName() == product.StandIn }) {
			return objects
		}
		for _, o := range demo {
			if o.GetName() == product.StandIn {
				objects = append(objects, o)
			}
		}
		return objects
	}
}

// Cooldown lets launchers stay that many seconds after the last demand.
func Cooldown(seconds int64) Change {
	return each("ScaledObject", func(o *unstructured.Unstructured) { set(o, seconds, "spec", "cooldownPeriod") })
}

// Variable sets a variable of some Deployments' pods.
func Variable(name, value string, deployments ...string) Change {
	return each("Deployment", func(o *unstructured.Unstructured) {
		if slices.Contains(deployments, o.GetName()) {
			setEnv(o, name, value)
		}
	})
}

// AnotherLauncher adds a launcher Deployment and ScaledObject for other labels,
// served by the same scaler.
func AnotherLauncher(name, labels string) Change {
	return func(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
		for _, o := range objects {
			if o.GetName() != product.Launcher || o.GetKind() != "Deployment" && o.GetKind() != "ScaledObject" {
				continue
			}
			another := renamed(o, name)
			if o.GetKind() == "Deployment" {
				setEnv(another, "PREFECT__CLOUD__AGENT__LABELS", labels)
			}
			objects = append(objects, another)
		}
		return objects
	}
}

// LauncherForEachPool adds a launcher, at zero, for each work pool but the first.
func LauncherForEachPool() Change {
	return func(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
		var pools []string
		for _, o := range objects {
			if text, found, _ := unstructured.NestedString(o.Object, "data", workPools); found {
				pools = strings.Split(text, ",")
			}
		}
		for i, pool := range pools {
			for _, o := range objects {
				if i == 0 || o.GetName() != product.Launcher || o.GetKind() != "Deployment" && o.GetKind() != "ScaledObject" {
					continue
				}
				another := renamed(o, fmt.Sprintf("%s-%d", product.Launcher, i))
				if o.GetKind() == "Deployment" {
					set(another, int64(0), "spec", "replicas")
					setEnv(another, workPools, pool)
				}
				objects = append(objects, another)
			}
		}
		return objects
	}
}

// workPools is the setting that names a launcher's pools.
const workPools = "PREFECT_KEDA_WORK_POOLS"

// renamed is a copy of a launcher's Deployment or ScaledObject.
func renamed(o *unstructured.Unstructured, name string) *unstructured.Unstructured {
	another := o.DeepCopy()
	another.SetName(name)
	switch o.GetKind() {
	case "Deployment":
		set(another, name, "spec", "selector", "matchLabels", "app.kubernetes.io/name")
		set(another, name, "spec", "template", "metadata", "labels", "app.kubernetes.io/name")
	case "ScaledObject":
		set(another, name, "spec", "scaleTargetRef", "name")
	}
	return another
}

// Image gives the product's containers another image.
func Image(ref string, deployments ...string) Change {
	return each("Deployment", func(o *unstructured.Unstructured) {
		if !slices.Contains(deployments, o.GetName()) {
			return
		}
		path := []string{"spec", "template", "spec", "containers"}
		containers, found, err := unstructured.NestedSlice(o.Object, path...)
		if err != nil || !found {
			panic(fmt.Sprintf("Deployment %s has no containers: %v", o.GetName(), err))
		}
		containers[0].(map[string]any)["image"] = ref
		set(o, containers, path...)
	})
}

// Settings sets some of the product's settings.
func Settings(settings map[string]string) Change {
	return each("ConfigMap", func(o *unstructured.Unstructured) {
		if _, found, _ := unstructured.NestedString(o.Object, "data", "NAMESPACE"); !found {
			return
		}
		for name, value := range settings {
			set(o, value, "data", name)
		}
	})
}

// AtLeast keeps that many launchers, whatever is due.
func AtLeast(launchers int64) Change {
	return each("ScaledObject", func(o *unstructured.Unstructured) { set(o, launchers, "spec", "minReplicaCount") })
}

// FlowsIn has an installation create its Jobs where another one does, in namespace to instead of
// from, by Roles of its own.
func FlowsIn(from, to string) Change {
	return func(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
		for _, o := range objects {
			text, err := o.MarshalJSON()
			if err == nil {
				err = o.UnmarshalJSON(bytes.ReplaceAll(text, []byte(`"`+from+`"`), []byte(`"`+to+`"`)))
			}
			if err != nil {
				panic(fmt.Sprintf("%s %s: %v", o.GetKind(), o.GetName(), err)) // it was read from JSON
			}
			if o.GetNamespace() != to || o.GetKind() != "Role" && o.GetKind() != "RoleBinding" {
				continue
			}
			if o.GetKind() == "RoleBinding" {
				set(o, o.GetName()+"-beside", "roleRef", "name")
			}
			o.SetName(o.GetName() + "-beside")
		}
		return objects
	}
}

func each(kind string, do func(*unstructured.Unstructured)) Change {
	return func(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
		for _, o := range objects {
			if o.GetKind() == kind {
				do(o)
			}
		}
		return objects
	}
}

// set panics when the manifests have another shape: the change would have no effect, and
// the scenario would prove nothing.
func set(o *unstructured.Unstructured, value any, path ...string) {
	if err := unstructured.SetNestedField(o.Object, value, path...); err != nil {
		panic(fmt.Sprintf("%s %s: %v", o.GetKind(), o.GetName(), err))
	}
}

// setEnv sets a variable of the pods that a Deployment or ScaledJob makes.
func setEnv(o *unstructured.Unstructured, name, value string) {
	path := []string{"spec", "template", "spec", "containers"}
	if o.GetKind() == "ScaledJob" {
		path = []string{"spec", "jobTargetRef", "template", "spec", "containers"}
	}
	containers, found, err := unstructured.NestedSlice(o.Object, path...)
	if err != nil || !found {
		panic(fmt.Sprintf("%s %s has no containers: %v", o.GetKind(), o.GetName(), err))
	}
	c := containers[0].(map[string]any)
	env, _, err := unstructured.NestedSlice(c, "env")
	if err != nil {
		panic(fmt.Sprintf("%s %s: %v", o.GetKind(), o.GetName(), err))
	}
	env = slices.DeleteFunc(env, func(v any) bool { return v.(map[string]any)["name"] == name })
	c["env"] = append(env, map[string]any{"name": name, "value": value})
	set(o, containers, path...)
}

func namespaceObject(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{ours: "true"}}}
}
