package framework

import (
	"context"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/e2e/certificates"
)

// HoldJobs lets nobody create a Job for the flows, nor be told so: the API server asks a webhook
// that accepts connections and says nothing. What is held when release is called stays held
// until its 30 s are over or its client is gone.
func (e *PoolEnv) HoldJobs() (release func()) {
	e.t.Helper()
	const name, port = "silent", 8443
	pods := e.Client.CoreV1().Pods(e.Namespace)
	_, err := pods.Create(e.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: new(int64),
			Containers: []corev1.Container{{
				Name: name, Image: e.server.image, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{"python3", "-c", fmt.Sprintf("import socket, time; s = socket.create_server(('', %d)); time.sleep(3600)", port)},
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	var address string
	e.Eventually(time.Minute, "the silent webhook listens", func(ctx context.Context) (string, bool) {
		pod, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err.Error(), false
		}
		if address = pod.Status.PodIP; address == "" {
			return string(pod.Status.Phase), false
		}
		conn, err := e.Cluster.Dial(ctx, fmt.Sprintf("%s:%d", address, port))
		if err == nil {
			conn.Close()
		}
		return fmt.Sprint(pod.Status.Phase, err), err == nil && pod.Status.Phase == corev1.PodRunning
	})
	hooks := e.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	url := fmt.Sprintf("https://%s:%d/", address, port)
	fail, none, seconds := admissionv1.Fail, admissionv1.SideEffectClassNone, int32(30)
	_, err = hooks.Create(e.t.Context(), &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: e.Namespace, Labels: map[string]string{ours: "true"}},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "silent.prefect-keda.io", ClientConfig: admissionv1.WebhookClientConfig{URL: &url, CABundle: certificates.NewAuthority().PEM},
			FailurePolicy: &fail, SideEffects: &none, TimeoutSeconds: &seconds, AdmissionReviewVersions: []string{"v1"},
			// Launchers try a Job in a dry run before they claim.
			MatchConditions:   []admissionv1.MatchCondition{{Name: "for-good", Expression: "!has(request.dryRun) || !request.dryRun"}},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: e.Flows}},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule:       admissionv1.Rule{APIGroups: []string{"batch"}, APIVersions: []string{"v1"}, Resources: []string{"jobs"}},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	lift := func(ctx context.Context) error { return hooks.Delete(ctx, e.Namespace, metav1.DeleteOptions{}) }
	e.t.Cleanup(func() { _ = lift(context.Background()) }) // it is of the whole cluster
	e.Eventually(30*time.Second, "the API server heeds the webhook", func(ctx context.Context) (string, bool) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err := e.Client.BatchV1().Jobs(e.Flows).Create(ctx, probe(), metav1.CreateOptions{})
		return fmt.Sprint(err), ctx.Err() != nil
	})
	return func() {
		e.t.Helper()
		if err := lift(e.t.Context()); err != nil {
			e.t.Fatal(err)
		}
	}
}

// probe is a Job that the API server takes, of no flow run.
func probe() *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"},
		Spec: batchv1.JobSpec{Suspend: new(true), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "probe", Image: "localhost:1/probe:1"}},
		}}},
	}
}
