package product

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// The names the manifests give.
const (
	Namespace = "prefect-keda"
	Flows     = "prefect-flows" // the namespace of their Jobs
	Scaler    = "prefect-keda-scaler"
	Launcher  = "prefect-keda-launcher"
	StandIn   = "prefect1-api"
)

// Render builds an overlay as `kubectl kustomize` does.
func Render(root, overlay string) ([]*unstructured.Unstructured, error) {
	dir := filepath.Join(root, "manifests", overlay)
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, fmt.Errorf("kustomize %s: %w", dir, err)
	}
	var objects []*unstructured.Unstructured
	for _, r := range built.Resources() {
		// By way of text: kustomize's own maps hold plain ints, which nothing of Kubernetes copies.
		text, err := r.AsYAML()
		if err != nil {
			return nil, fmt.Errorf("kustomize %s: %w", dir, err)
		}
		o := &unstructured.Unstructured{}
		if text, err = yaml.YAMLToJSON(text); err == nil {
			err = o.UnmarshalJSON(text)
		}
		if err != nil {
			return nil, fmt.Errorf("kustomize %s: %w", dir, err)
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// FlowsOf is the namespace of the flows' Jobs beside one that Move puts objects in.
func FlowsOf(namespace string) string { return namespace + "-flows" }

// Move puts objects rendered for Namespace into another one, with every address
// that names it, and those for Flows into that one's FlowsOf. kustomize's own
// namespace field does not see addresses.
func Move(objects []*unstructured.Unstructured, namespace string) {
	for _, o := range objects {
		o.Object = moved(o.Object, namespace).(map[string]any)
		if o.GetKind() == "Namespace" {
			o.SetName(places(namespace)[o.GetName()])
		}
	}
}

func places(namespace string) map[string]string {
	return map[string]string{Namespace: namespace, Flows: FlowsOf(namespace)}
}

func moved(v any, namespace string) any {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			if from, ok := inner.(string); ok && (k == "namespace" || k == "NAMESPACE") {
				if to, known := places(namespace)[from]; known {
					v[k] = to
					continue
				}
			}
			v[k] = moved(inner, namespace)
		}
	case []any:
		for i, inner := range v {
			v[i] = moved(inner, namespace)
		}
	case string:
		return strings.NewReplacer("."+Namespace+":", "."+namespace+":", "."+Namespace+".svc", "."+namespace+".svc").Replace(v)
	}
	return v
}

// Apply applies objects in their order, server-side. With dryRun the API server
// only says whether it would take them.
func Apply(ctx context.Context, client dynamic.Interface, mapper meta.RESTMapper, objects []*unstructured.Unstructured, dryRun bool) error {
	options := metav1.ApplyOptions{FieldManager: "prefect-keda-e2e", Force: true}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	for _, o := range objects {
		kind := o.GroupVersionKind()
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			return fmt.Errorf("apply %s %s: %w", kind.Kind, o.GetName(), err)
		}
		if _, err := client.Resource(mapping.Resource).Namespace(o.GetNamespace()).Apply(ctx, o.GetName(), o, options); err != nil {
			return fmt.Errorf("apply %s %s: %w", kind.Kind, o.GetName(), err)
		}
	}
	return nil
}
