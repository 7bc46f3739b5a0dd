package framework

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/prefect-keda/prefect-keda/e2e/product"
)

func (e *Env) pods(ctx context.Context, name string) []corev1.Pod {
	list, err := e.Client.CoreV1().Pods(e.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + name})
	if err != nil {
		return nil
	}
	return list.Items
}

// Pods are the pods of a Deployment, also those that are leaving.
func (e *Env) Pods(deployment string) []corev1.Pod {
	e.t.Helper()
	return e.pods(e.t.Context(), deployment)
}

// Stop deletes a pod: its container gets SIGTERM.
func (e *Env) Stop(pod string) {
	e.t.Helper()
	if err := e.Client.CoreV1().Pods(e.Namespace).Delete(e.t.Context(), pod, metav1.DeleteOptions{}); err != nil {
		e.t.Fatal(err)
	}
}

// Kill deletes a pod with no grace: its container gets SIGKILL.
func (e *Env) Kill(pod string) {
	e.t.Helper()
	if err := e.Client.CoreV1().Pods(e.Namespace).Delete(e.t.Context(), pod, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		e.t.Fatal(err)
	}
}

// RestartScaler kills the scaler and waits until another one answers.
func (e *Env) RestartScaler() {
	e.t.Helper()
	before := e.Pods(product.Scaler)
	for i := range before {
		e.Kill(before[i].Name)
	}
	e.Eventually(time.Minute, "another scaler is ready", func(ctx context.Context) (string, bool) {
		for _, p := range e.pods(ctx, product.Scaler) {
			if p.UID != before[0].UID && isReady(&p) {
				return "", true
			}
		}
		return "none", false
	})
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Pause has KEDA leave the Deployment of a ScaledObject at that many replicas.
func (e *Env) Pause(scaledObject string, replicas int) {
	e.t.Helper()
	e.annotate(scaledObject, fmt.Sprintf(`{"metadata":{"annotations":{"autoscaling.keda.sh/paused-replicas":"%d"}}}`, replicas))
}

// Resume ends Pause.
func (e *Env) Resume(scaledObject string) {
	e.t.Helper()
	e.annotate(scaledObject, `{"metadata":{"annotations":{"autoscaling.keda.sh/paused-replicas":null}}}`)
}

func (e *Env) annotate(scaledObject, patch string) {
	e.t.Helper()
	if _, err := e.Dynamic.Resource(scaledObjects()).Namespace(e.Namespace).Patch(e.t.Context(), scaledObject, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		e.t.Fatal(err)
	}
}

// WaitForContainerEnd waits until a container of a Deployment's pods has ended by
// itself, and returns how.
func (e *Env) WaitForContainerEnd(deployment string, within time.Duration) corev1.ContainerStateTerminated {
	e.t.Helper()
	var end corev1.ContainerStateTerminated
	e.Eventually(within, "a container of "+deployment+" ends", func(ctx context.Context) (string, bool) {
		for _, p := range e.pods(ctx, deployment) {
			for _, s := range p.Status.ContainerStatuses {
				for _, state := range []corev1.ContainerState{s.LastTerminationState, s.State} {
					if state.Terminated != nil {
						end = *state.Terminated
						return "", true
					}
				}
			}
		}
		return "none has", false
	})
	return end
}
