package product

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// registering is the name of the Job that registers the flows.
const registering = "register-flows"

// RegisterJob registers the flows of the flow image with the stand-in API.
func RegisterJob(namespace, flowImage string) *batchv1.Job {
	never, tenMinutes := int32(0), int32(600)
	return &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{Name: registering, Namespace: namespace},
		Spec: batchv1.JobSpec{
			BackoffLimit:            &never,
			TTLSecondsAfterFinished: &tenMinutes,
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyNever,
				Containers: []corev1.Container{{
					Name: "register", Image: flowImage, ImagePullPolicy: corev1.PullIfNotPresent,
					Command: []string{"python3", "-m", "prefect_keda_flows.register"},
					Env: []corev1.EnvVar{
						{Name: "PREFECT__BACKEND", Value: "server"},
						{Name: "PREFECT__CLOUD__API", Value: fmt.Sprintf("http://%s.%s:4200", StandIn, namespace)},
						{Name: "FLOW_IMAGE", Value: flowImage},
					},
				}},
			}},
		},
	}
}

// RegisteredFlows are the ids of the flows by name once RegisterJob is through;
// before that nil, and how far it is.
func RegisteredFlows(ctx context.Context, client kubernetes.Interface, namespace string) (ids map[string]string, seen string, err error) {
	job, err := client.BatchV1().Jobs(namespace).Get(ctx, registering, metav1.GetOptions{})
	if err != nil {
		return nil, "", fmt.Errorf("register flows: %w", err)
	}
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name=" + registering})
	if err != nil || len(pods.Items) == 0 || job.Status.Succeeded+job.Status.Failed == 0 {
		return nil, "still registering", nil //nolint:nilerr // asked again
	}
	log, err := client.CoreV1().Pods(namespace).GetLogs(pods.Items[0].Name, &corev1.PodLogOptions{}).DoRaw(ctx)
	if err != nil {
		return nil, err.Error(), nil //nolint:nilerr // asked again
	}
	if job.Status.Failed > 0 {
		return nil, "", fmt.Errorf("register flows: the Prefect client failed:\n%s", log)
	}
	ids, err = registeredIDs(string(log))
	return ids, "", err
}

// registeredIDs reads the ids from the log of the client, which prints them in
// a line of their own. The line may stand anywhere: a log has what a container
// writes to stdout and to stderr in no certain order, and the client warns.
func registeredIDs(log string) (map[string]string, error) {
	for line := range strings.Lines(log) {
		var ids map[string]string
		if json.Unmarshal([]byte(line), &ids) == nil && len(ids) > 0 {
			return ids, nil
		}
	}
	return nil, fmt.Errorf("register flows: no line of the client's log has the ids:\n%s", log)
}
