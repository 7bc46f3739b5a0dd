package product

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
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

// elsewhere is the overlay that puts another one into namespaces of one's own, as
// docs/install.md says, with settings of its own.
const elsewhere = `resources: [../../%[1]s]
configMapGenerator:
  - name: prefect-keda
    namespace: prefect-keda
    behavior: merge
    literals: %[2]s
components: [../../components/namespaces]
sortOptions:
  order: legacy
  legacySortOptions: {orderFirst: [Namespace, TriggerAuthentication], orderLast: [ScaledObject, ScaledJob]}
`

// Render builds an overlay as kubectl does, for a namespace and its FlowsOf. Both are
// made too, with the labels that the base's have.
func Render(root, overlay, namespace string) ([]*unstructured.Unstructured, error) {
	return render(root, overlay, namespace, fmt.Sprintf("PREFECT__CLOUD__API=http://%s.%s.svc:4200", StandIn, namespace))
}

func render(root, overlay, namespace string, settings ...string) ([]*unstructured.Unstructured, error) {
	// JSON is YAML.
	literals, err := json.Marshal(append(settings, "PREFECT_KEDA_NAMESPACE="+namespace, "NAMESPACE="+FlowsOf(namespace)))
	if err != nil {
		return nil, err
	}
	objects, err := built(root, fmt.Sprintf(elsewhere, overlay, literals))
	if err != nil {
		return nil, fmt.Errorf("kustomize %s for %s: %w", overlay, namespace, err)
	}
	for _, o := range objects {
		if o.GetKind() == "Namespace" {
			o.SetName(map[string]string{Namespace: namespace, Flows: FlowsOf(namespace)}[o.GetName()])
		}
	}
	return objects, nil
}

func built(root, kustomization string) ([]*unstructured.Unstructured, error) {
	files := filesys.MakeFsInMemory()
	manifests := os.DirFS(filepath.Join(root, "manifests"))
	err := fs.WalkDir(manifests, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(manifests, path)
		return errors.Join(err, files.WriteFile(path, text))
	})
	if err := errors.Join(err, files.WriteFile("overlays/elsewhere/kustomization.yaml", []byte(kustomization))); err != nil {
		return nil, err
	}
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionUnspecified // or it warns of sortOptions
	rendered, err := krusty.MakeKustomizer(options).Run(files, "overlays/elsewhere")
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, r := range rendered.Resources() {
		// Go through text, because kustomize's maps hold plain ints and Kubernetes' types cannot
		// copy those.
		text, err := r.AsYAML()
		if err != nil {
			return nil, err
		}
		o := &unstructured.Unstructured{}
		if text, err = yaml.YAMLToJSON(text); err == nil {
			err = o.UnmarshalJSON(text)
		}
		if err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// FlowsOf is the namespace of the flows' Jobs beside one that Render is for.
func FlowsOf(namespace string) string {
	if namespace == Namespace {
		return Flows
	}
	return namespace + "-flows"
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

// RenderForPrefect3 is Render for a Prefect 3 server; its launcher serves the work pools.
func RenderForPrefect3(root, namespace, api string, pools ...string) ([]*unstructured.Unstructured, error) {
	return render(root, "overlays/prefect3-server", namespace, "PREFECT_API_URL="+api, "PREFECT_KEDA_WORK_POOLS="+strings.Join(pools, ","))
}
