package notice

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

const (
	// fewPods are enough to find what is wrong with all.
	fewPods = 5
	// fewEvents of a pod are read; the last Warning among them counts.
	fewEvents = 50
	// maxWhy bounds the text about a pod.
	maxWhy = 500
)

// Launcher says in words what holds up the launcher pods of a ScaledObject or ScaledJob,
// as far as we may look.
func (n *Notices) Launcher(ctx context.Context, namespace, name string) (string, error) {
	s, err := n.readScaled(ctx, namespace, name)
	if err != nil {
		return "", err
	}
	if s.Kind == "ScaledJob" {
		return n.podsSay(ctx, namespace, labels.Set{"scaledjob.keda.sh/name": name}.String(),
			fmt.Sprintf("there is no pod of it: see kubectl -n %s describe scaledjob %s", namespace, name))
	}
	target := s.Spec.ScaleTargetRef
	if kind := cmp.Or(target.Kind, "Deployment"); kind != "Deployment" {
		return fmt.Sprintf("see kubectl -n %s describe %s %s", namespace, strings.ToLower(kind), target.Name), nil
	}
	var d struct {
		Spec struct {
			Replicas int
			Selector metav1.LabelSelector
		}
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := n.Cluster.Read(ctx, fmt.Sprintf("/apis/apps/v1/namespaces/%s/deployments/%s", namespace, target.Name), &d); err != nil {
		return "", err
	}
	none := fmt.Sprintf("Deployment %s has no pod yet: see kubectl -n %s describe deployment %s", target.Name, namespace, target.Name)
	if d.Spec.Replicas == 0 {
		none = fmt.Sprintf("KEDA has not scaled Deployment %s up: see kubectl -n %s describe scaledobject %s", target.Name, namespace, name)
	}
	for _, c := range d.Status.Conditions {
		if c.Type == "ReplicaFailure" && c.Status == "True" {
			none = fmt.Sprintf("Deployment %s gets no pod: %s", target.Name, c.Message)
		}
	}
	selector, err := metav1.LabelSelectorAsSelector(&d.Spec.Selector)
	if err != nil {
		return "", fmt.Errorf("read the selector of Deployment %s: %w", target.Name, err)
	}
	return n.podsSay(ctx, namespace, selector.String(), none)
}

// podsSay describes the newest pod of a selector that is held up.
func (n *Notices) podsSay(ctx context.Context, namespace, selector, none string) (string, error) {
	var pods corev1.PodList
	query := url.Values{"labelSelector": {selector}, "limit": {fmt.Sprint(fewEvents)}}
	if err := n.Cluster.Read(ctx, fmt.Sprintf("/api/v1/namespaces/%s/pods?%s", namespace, query.Encode()), &pods); err != nil {
		return "", err
	}
	all := slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool {
		return p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded
	})
	if len(all) == 0 {
		return cut(none, maxWhy), nil
	}
	slices.SortFunc(all, func(a, b corev1.Pod) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
	for _, p := range all[:min(fewPods, len(all))] {
		if text := n.hindrance(ctx, &p); text != "" {
			return cut(fmt.Sprintf("pod %s %s", p.Name, text), maxWhy), nil
		}
	}
	return fmt.Sprintf("pod %s is up and takes no run: read its log, kubectl -n %s logs %s (on Prefect Cloud, concurrency limits hold runs back too)", all[0].Name, namespace, all[0].Name), nil
}

// hindrance says what keeps a pod from running; it is empty when the pod runs.
func (n *Notices) hindrance(ctx context.Context, p *corev1.Pod) string {
	if p.Status.Phase == corev1.PodFailed {
		return strings.TrimRight("has failed: "+cmp.Or(p.Status.Message, p.Status.Reason), ": ")
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "gets no node: " + cmp.Or(c.Message, c.Reason)
		}
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		w := c.State.Waiting
		switch {
		case w != nil && w.Reason == "CrashLoopBackOff" && c.LastTerminationState.Terminated != nil:
			return fmt.Sprintf("ends again and again, last with exit code %d: kubectl -n %s logs %s --previous says why", c.LastTerminationState.Terminated.ExitCode, p.Namespace, p.Name)
		case w != nil && w.Message != "":
			return "waits: " + w.Reason + ": " + w.Message
		case w != nil:
			return strings.TrimRight("waits: "+w.Reason+": "+n.lastWarning(ctx, p), ": ")
		}
	}
	return ""
}

// lastWarning is the last Warning among a pod's events. It says, for example, which
// ConfigMap a volume lacks; the pod itself does not.
func (n *Notices) lastWarning(ctx context.Context, p *corev1.Pod) string {
	var events corev1.EventList
	query := url.Values{"fieldSelector": {"involvedObject.uid=" + string(p.UID)}, "limit": {fmt.Sprint(fewEvents)}}
	if err := n.Cluster.Read(ctx, fmt.Sprintf("/api/v1/namespaces/%s/events?%s", p.Namespace, query.Encode()), &events); err != nil {
		return ""
	}
	last := ""
	for _, e := range events.Items {
		if e.Type == corev1.EventTypeWarning {
			last = e.Message
		}
	}
	return last
}
