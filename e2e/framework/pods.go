package framework

import (
	"context"
	"fmt"
	"strings"
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

// WaitForLog waits until a pod of a Deployment has logged the words.
func (e *Env) WaitForLog(deployment, words string, within time.Duration) {
	e.t.Helper()
	e.Eventually(within, deployment+" logs: "+words, func(ctx context.Context) (string, bool) {
		var last string
		for _, pod := range e.pods(ctx, deployment) {
			text, err := e.Client.CoreV1().Pods(e.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
			if err != nil {
				last = err.Error()
				continue
			}
			if strings.Contains(string(text), words) {
				return "", true
			}
			last = string(text[max(0, len(text)-300):])
		}
		return last, false
	})
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

// KillScaler ends the scaler by SIGKILL and waits for another one.
func (e *Env) KillScaler() {
	e.t.Helper()
	e.replaceScaler(func(pod string) { e.Kill(pod) })
}

// StopScaler ends the scaler by SIGTERM and waits for another one.
func (e *Env) StopScaler() {
	e.t.Helper()
	e.replaceScaler(func(pod string) { e.Stop(pod) })
}

// RollScaler does a kubectl rollout restart: the new pod is ready before the old one stops.
func (e *Env) RollScaler() {
	e.t.Helper()
	e.replaceScaler(func(string) { e.Roll(product.Scaler) })
}

// Roll does a kubectl rollout restart of a Deployment, and does not wait.
func (e *Env) Roll(deployment string) {
	e.t.Helper()
	patch := `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"` + time.Now().Format(time.RFC3339) + `"}}}}}`
	deployments := e.Client.AppsV1().Deployments(e.Namespace)
	if _, err := deployments.Patch(e.t.Context(), deployment, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		e.t.Fatal(err)
	}
}

// replaceScaler returns when the present scaler is gone, another one is ready, and KEDA
// listens to it.
func (e *Env) replaceScaler(end func(pod string)) {
	e.t.Helper()
	before := e.Pods(product.Scaler)[0]
	end(before.Name)
	e.Eventually(time.Minute, "another scaler has taken over", func(ctx context.Context) (string, bool) {
		pods := e.pods(ctx, product.Scaler)
		return fmt.Sprintf("%d pods", len(pods)), len(pods) == 1 && pods[0].UID != before.UID && isReady(&pods[0])
	})
	e.WaitForStream()
}

// TakeDown scales a Deployment to zero by hand, and waits until its pods are gone.
func (e *Env) TakeDown(deployment string) {
	e.t.Helper()
	patch := []byte(`{"spec":{"replicas":0}}`)
	deployments := e.Client.AppsV1().Deployments(e.Namespace)
	if _, err := deployments.Patch(e.t.Context(), deployment, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		e.t.Fatal(err)
	}
	e.WaitForReplicas(deployment, 0, time.Minute)
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Pause makes KEDA keep the Deployment of a ScaledObject at that many replicas.
func (e *Env) Pause(scaledObject string, replicas int) {
	e.t.Helper()
	e.patch(e.t.Context(), scaledObject, fmt.Sprintf(`{"metadata":{"annotations":{"autoscaling.keda.sh/paused-replicas":"%d"}}}`, replicas))
}

// Resume ends Pause.
func (e *Env) Resume(scaledObject string) {
	e.t.Helper()
	e.patch(e.t.Context(), scaledObject, `{"metadata":{"annotations":{"autoscaling.keda.sh/paused-replicas":null}}}`)
}

func (e *Env) patch(ctx context.Context, scaledObject, patch string) {
	e.t.Helper()
	if _, err := e.Dynamic.Resource(scaledObjects()).Namespace(e.Namespace).Patch(ctx, scaledObject, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
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
