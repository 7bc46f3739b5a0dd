package framework

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// StopKEDA takes KEDA's operator away from everybody, so scenarios that do it run
// alone. StartKEDA brings it back, and so does the end of the test.
func (s *Suite) StopKEDA(t *testing.T) {
	t.Helper()
	s.leaveOneOperator(t, 2*time.Minute)
	if err := s.scaleKEDA(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
}

// StartKEDA ends StopKEDA.
func (s *Suite) StartKEDA(t *testing.T) {
	t.Helper()
	if err := s.scaleKEDA(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
}

func (s *Suite) scaleKEDA(ctx context.Context, replicas int) error {
	deployments := s.Client.AppsV1().Deployments(kedaNamespace)
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	if _, err := deployments.Patch(ctx, operator, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("scale KEDA: %w", err)
	}
	err := poll(ctx, func() (bool, error) {
		d, err := deployments.Get(ctx, operator, metav1.GetOptions{})
		return err == nil && d.Status.ObservedGeneration >= d.Generation && int(d.Status.Replicas) == replicas && int(d.Status.ReadyReplicas) == replicas, err
	})
	if err != nil {
		return fmt.Errorf("scale KEDA to %d: %w", replicas, err)
	}
	return nil
}

// leaveOneOperator has the end of the test leave KEDA with one operator, whatever happens.
func (s *Suite) leaveOneOperator(t *testing.T, within time.Duration) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		if err := s.scaleKEDA(ctx, 1); err != nil {
			t.Error(err)
		}
	})
}

// RefuseConnections makes the Prefect API's port refuse connections, until
// AcceptConnections. The levers still work.
func (e *Env) RefuseConnections() {
	e.t.Helper()
	e.sendAPITo(`9`)
	// Open connections outlive the change, so cut them.
	e.Break(prefecttest.Fault{Drop: true})
}

// AcceptConnections ends RefuseConnections.
func (e *Env) AcceptConnections() {
	e.t.Helper()
	e.sendAPITo(`"api"`)
	e.Mend()
}

func (e *Env) sendAPITo(port string) {
	e.t.Helper()
	patch := []byte(`{"spec":{"ports":[{"name":"api","port":4200,"targetPort":` + port + `}]}}`)
	services := e.Client.CoreV1().Services(e.Namespace)
	if _, err := services.Patch(e.t.Context(), product.StandIn, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		e.t.Fatal(err)
	}
}

// Evict evicts the pod of a flow run, as draining its node does, while one of its containers
// runs.
func (e *Env) Evict(run, during string) {
	e.t.Helper()
	pods := e.Client.CoreV1().Pods(e.Flows)
	e.Eventually(time.Minute, "a pod of flow run "+run+" is evicted in container "+during, func(ctx context.Context) (string, bool) {
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: e.runLabel + "=" + run})
		if err != nil {
			return err.Error(), false
		}
		for _, p := range list.Items {
			for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
				if c.Name == during && c.State.Running != nil {
					err := pods.EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: p.Name}})
					return fmt.Sprint(err), err == nil
				}
			}
		}
		return fmt.Sprintf("none of its %d pods runs it", len(list.Items)), false
	})
}

// Node is the name of a node.
func (e *Env) Node() string {
	e.t.Helper()
	nodes, err := e.Client.CoreV1().Nodes().List(e.t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) == 0 {
		e.t.Fatalf("nodes: %v", err)
	}
	return nodes.Items[0].Name
}
