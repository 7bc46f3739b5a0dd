package job

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ownPrefix begins the labels and annotations that are ours alone: what we know of
// a Job by, and what our own Services and NetworkPolicies select.
const ownPrefix = "prefect-keda.io/"

// reserved names everything in a template that would make more, or less, of it
// than the Job of one flow run. What only an author must not have is the
// operator's to decide: whose finalizers and owners a Job has, and who runs it.
func (t Template) reserved(j *batchv1.Job) error {
	var wrong []string
	refuse := func(is bool, what string) {
		if is {
			wrong = append(wrong, what)
		}
	}
	for _, of := range []struct {
		path string
		meta metav1.ObjectMeta
	}{{"metadata.", j.ObjectMeta}, {"spec.template.metadata.", j.Spec.Template.ObjectMeta}} {
		for _, kind := range []struct {
			name  string
			given map[string]string
		}{{"labels", of.meta.Labels}, {"annotations", of.meta.Annotations}} {
			for _, name := range slices.Sorted(maps.Keys(kind.given)) {
				refuse(strings.HasPrefix(name, ownPrefix), fmt.Sprintf("%s%s.%s (%s is prefect-keda's own)", of.path, kind.name, name, ownPrefix))
			}
		}
		refuse(t.FromRun && len(of.meta.OwnerReferences) > 0, of.path+"ownerReferences (the Job would go with another object)")
		refuse(t.FromRun && len(of.meta.Finalizers) > 0, of.path+"finalizers (the Job could not be removed)")
	}
	refuse(j.Spec.ManualSelector != nil && *j.Spec.ManualSelector, "spec.manualSelector (the Job would take other Jobs' pods for its own)")
	refuse(j.Spec.Selector != nil, "spec.selector (Kubernetes makes it)")
	refuse(t.FromRun && j.Spec.ManagedBy != nil && *j.Spec.ManagedBy != batchv1.JobControllerName, "spec.managedBy (Kubernetes itself would not run the Job)")
	if len(wrong) == 0 {
		return nil
	}
	return authorError("%s has what no flow run's Job may have: %s: leave it out", t.origin(), strings.Join(wrong, ", "))
}

// unborn drops what the API server says of Jobs that are there. A template that is
// a copy of one has it; with a resourceVersion the API server would take no Job.
func unborn(j *batchv1.Job) {
	j.ObjectMeta = metav1.ObjectMeta{
		Name: j.Name, GenerateName: j.GenerateName, Namespace: j.Namespace, Labels: j.Labels, Annotations: j.Annotations,
		Finalizers: j.Finalizers, OwnerReferences: j.OwnerReferences,
	}
	j.Status = batchv1.JobStatus{}
}

// onePod has the Job be one pod that has to succeed once: several would execute
// the flow run side by side.
func onePod(j *batchv1.Job, from Origins) {
	for path, n := range map[string]**int32{"spec.parallelism": &j.Spec.Parallelism, "spec.completions": &j.Spec.Completions} {
		if *n != nil && **n != 1 {
			from[path] = fmt.Sprintf("always; the template has %d", **n)
			*n = new(int32(1))
		}
	}
}
