package framework

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// WaitForEvent waits for an event of a reason on an object, as kubectl describe finds
// it, that says some words.
func (e *Env) WaitForEvent(object *unstructured.Unstructured, reason, words string, within time.Duration) {
	e.t.Helper()
	of := fmt.Sprintf("involvedObject.uid=%s,reason=%s", object.GetUID(), reason)
	e.Eventually(within, fmt.Sprintf("an event %s on %s says %q", reason, object.GetName(), words), func(ctx context.Context) (string, bool) {
		list, err := e.Client.CoreV1().Events(e.Namespace).List(ctx, metav1.ListOptions{FieldSelector: of})
		if err != nil {
			return err.Error(), false
		}
		var said []string
		for _, event := range list.Items {
			said = append(said, event.Message)
		}
		all := strings.Join(said, "\n")
		return all, strings.Contains(all, words)
	})
}

// ScaledObject reads one.
func (e *Env) ScaledObject(name string) *unstructured.Unstructured {
	e.t.Helper()
	o, err := e.Dynamic.Resource(scaledObjects()).Namespace(e.Namespace).Get(e.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	return o
}

// Respell gives a key of a ScaledObject's first trigger another name.
func (e *Env) Respell(scaledObject, from, to string) {
	e.t.Helper()
	patch := fmt.Sprintf(`[{"op":"move","from":"/spec/triggers/0/metadata/%s","path":"/spec/triggers/0/metadata/%s"}]`, from, to)
	if _, err := e.Dynamic.Resource(scaledObjects()).Namespace(e.Namespace).Patch(e.t.Context(), scaledObject, types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		e.t.Fatal(err)
	}
}

// Lacking makes pods of a Deployment mount a ConfigMap that does not exist.
func Lacking(configMap, deployment string) Change {
	return each("Deployment", func(o *unstructured.Unstructured) {
		if o.GetName() != deployment {
			return
		}
		// Without a mount, Kubernetes does not miss it.
		path := []string{"spec", "template", "spec", "containers"}
		containers, _, err := unstructured.NestedSlice(o.Object, path...)
		if err != nil || len(containers) == 0 {
			panic(fmt.Sprintf("Deployment %s has no containers: %v", deployment, err))
		}
		containers[0].(map[string]any)["volumeMounts"] = []any{map[string]any{"name": "lacking", "mountPath": "/lacking"}}
		set(o, containers, path...)
		set(o, []any{map[string]any{"name": "lacking", "configMap": map[string]any{"name": configMap}}}, "spec", "template", "spec", "volumes")
	})
}
