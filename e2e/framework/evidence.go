package framework

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/prefect-keda/prefect-keda/e2e/product"
)

// keepEvidence writes the state of a failed scenario's namespace to e2e/out/<test>:
// objects, events, logs, what Prefect knows, the state of the scaler, and KEDA's log.
func (e *Env) keepEvidence(ctx context.Context) {
	dir := filepath.Join(e.Root, "e2e/out", strings.ReplaceAll(e.t.Name(), "/", "_"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		e.t.Logf("keep evidence: %v", err)
		return
	}
	keep := func(name string, text []byte, err error) {
		if err != nil {
			text = append(text, []byte("\n(not all of it: "+err.Error()+")\n")...)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			e.t.Logf("keep evidence: %v", err)
		}
	}
	for namespace, kinds := range map[string][]schema.GroupVersionResource{
		e.Namespace: {
			{Version: "v1", Resource: "pods"},
			{Version: "v1", Resource: "events"},
			{Version: "v1", Resource: "configmaps"},
			{Group: "apps", Version: "v1", Resource: "deployments"},
			{Group: "batch", Version: "v1", Resource: "jobs"},
			{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"},
			scaledObjects(), scaledJobs(),
		},
		e.Flows: {{Version: "v1", Resource: "pods"}, {Version: "v1", Resource: "events"}, {Group: "batch", Version: "v1", Resource: "jobs"}},
	} {
		for _, kind := range kinds {
			text, err := e.objects(ctx, namespace, kind)
			name := kind.Resource + ".yaml"
			if namespace == e.Flows {
				name = "flows-" + name
			}
			keep(name, text, err)
		}
		e.keepLogs(ctx, namespace, "", keep)
	}
	e.keepLogs(ctx, "keda", "app=keda-operator", keep)
	runs, err := e.flowRuns(ctx)
	text, _ := json.MarshalIndent(runs, "", "  ")
	keep("flow-runs.json", text, err)
	for _, pod := range e.pods(ctx, product.Scaler) {
		text, err = product.Get(ctx, e.Config, e.Namespace, "pods", pod.Name, "8080", "/debug/demand")
		keep("scaler-demand.json", text, err)
	}
	e.t.Logf("what namespace %s looked like is in %s", e.Namespace, dir)
}

func (e *Env) objects(ctx context.Context, namespace string, kind schema.GroupVersionResource) ([]byte, error) {
	list, err := e.Dynamic.Resource(kind).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: 300})
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		list.Items[i].SetManagedFields(nil)
	}
	return yaml.Marshal(list.UnstructuredContent()["items"])
}

func (e *Env) keepLogs(ctx context.Context, namespace, selector string, keep func(string, []byte, error)) {
	pods, err := e.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		keep("logs.txt", nil, err)
		return
	}
	lines := int64(5000)
	for i := range pods.Items {
		p := &pods.Items[i]
		if p.Spec.NodeName == "" {
			continue
		}
		for _, previous := range []bool{true, false} {
			if previous && (len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].RestartCount == 0) {
				continue
			}
			text, err := e.Client.CoreV1().Pods(namespace).GetLogs(p.Name, &corev1.PodLogOptions{Previous: previous, TailLines: &lines}).DoRaw(ctx)
			name := p.Name + ".log"
			if previous {
				name = p.Name + ".previous.log"
			}
			keep(name, text, err)
		}
	}
}
