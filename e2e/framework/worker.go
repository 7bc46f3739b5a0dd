package framework

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/e2e/product"
)

// Worker is the name of the real worker's Deployment, and its own.
const Worker = "real-worker"

// StartWorker starts the real Kubernetes worker of Prefect on a work pool, and waits until it
// runs. It may do everything with the flows' Jobs.
func (e *PoolEnv) StartWorker(pool string) {
	e.t.Helper()
	ctx, meta := e.t.Context(), metav1.ObjectMeta{Name: Worker}
	_, err := e.Client.CoreV1().ServiceAccounts(e.Namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	_, err = e.Client.RbacV1().RoleBindings(e.Flows).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: e.Namespace, Name: Worker}},
	}, metav1.CreateOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	_, err = e.Client.AppsV1().Deployments(e.Namespace).Create(ctx, e.worker(pool), metav1.CreateOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	e.WaitForRollout(Worker)
	e.WaitForLog(Worker, "started!", 5*time.Minute) // it imports for half a minute of a core that others want too
}

func (e *PoolEnv) worker(pool string) *appsv1.Deployment {
	one, labels := int32(1), map[string]string{"app.kubernetes.io/name": Worker}
	auth := &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: product.AuthSecret}, Key: product.AuthKey,
	}}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: Worker},
		Spec: appsv1.DeploymentSpec{
			Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					ServiceAccountName: Worker, TerminationGracePeriodSeconds: new(int64(5)),
					Containers: []corev1.Container{{
						Name: "worker", Image: e.server.image, ImagePullPolicy: corev1.PullIfNotPresent,
						Command: []string{"prefect", "worker", "start", "--type", "kubernetes", "--pool", pool, "--name", Worker},
						Env: []corev1.EnvVar{
							{Name: "PREFECT_API_URL", Value: product.Prefect3URL(e.server.namespace)},
							{Name: "PREFECT_API_AUTH_STRING", ValueFrom: auth},
							{Name: "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_NAME", Value: product.AuthSecret},
							{Name: "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_KEY", Value: product.AuthKey},
							{Name: "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES", Value: e.Flows},
							{Name: "PYTHONPATH", Value: "/opt/worker"},
							{Name: "PREFECT_HOME", Value: "/tmp/.prefect"},
							{Name: "DO_NOT_TRACK", Value: "1"},
						},
					}},
				},
			},
		},
	}
}

// WorkerUse is what the real worker's process has used so far: CPU, and memory at its peak.
func (e *PoolEnv) WorkerUse() (cpu time.Duration, peak uint64) {
	e.t.Helper()
	pod := e.Pods(Worker)[0]
	text, err := e.Cluster.Kubectl(e.t.Context(), "-n", e.Namespace, "exec", pod.Name, "--", "cat", "/proc/1/stat", "/proc/1/status")
	if err != nil {
		e.t.Fatal(err)
	}
	stat, status, _ := strings.Cut(text, "\n")
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	for _, ticks := range fields[11:13] { // user and system, in hundredths of a second
		n, err := strconv.Atoi(ticks)
		if err != nil {
			e.t.Fatal(err)
		}
		cpu += time.Duration(n) * 10 * time.Millisecond
	}
	_, high, _ := strings.Cut(status, "VmHWM:")
	if _, err := fmt.Sscan(high, &peak); err != nil {
		e.t.Fatal(err)
	}
	return cpu, peak << 10
}
