//go:build e2e && (numbers || sidebyside)

package e2e

import (
	"maps"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// likeJob is a Job that was made, as a loop may create it again: without its name, and without
// what Kubernetes has added.
func likeJob(j *batchv1.Job) *batchv1.Job {
	like := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Labels: j.Labels, Annotations: j.Annotations}, Spec: *j.Spec.DeepCopy()}
	like.Spec.Selector, like.Spec.Template.Labels = nil, maps.Clone(j.Labels)
	return like
}
