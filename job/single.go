package job

import (
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ownPrefix begins the labels and annotations that are ours alone: what we know of
// a Job by, and what our own Services and NetworkPolicies select.
const ownPrefix = "prefect-keda.io/"

// Reserved names everything in a Job's template that would make more, or less, of it
// than the Job of one flow run. What only a flow's author must not have is the
// operator's to decide: whose finalizers and owners a Job has, and who runs it.
func Reserved(j *batchv1.Job, authors bool) (wrong []string) {
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
			for _, name := range own(kind.given) {
				refuse(true, fmt.Sprintf("%s%s.%s (%s is prefect-keda's own)", of.path, kind.name, name, ownPrefix))
			}
		}
		refuse(authors && len(of.meta.OwnerReferences) > 0, of.path+"ownerReferences (the Job would go with another object)")
		refuse(authors && len(of.meta.Finalizers) > 0, of.path+"finalizers (the Job could not be removed)")
	}
	refuse(j.Spec.ManualSelector != nil && *j.Spec.ManualSelector, "spec.manualSelector (the Job would take other Jobs' pods for its own)")
	refuse(j.Spec.Selector != nil, "spec.selector (Kubernetes makes it)")
	refuse(authors && j.Spec.ManagedBy != nil && *j.Spec.ManagedBy != batchv1.JobControllerName, "spec.managedBy (Kubernetes itself would not run the Job)")
	return wrong
}

// own are the names among these that are ours alone.
func own(given map[string]string) (names []string) {
	for name := range given {
		if strings.HasPrefix(name, ownPrefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// MinTTLSeconds is the shortest life of a finished Job. Its name is the lock of
// its attempt, so it must outlive every launcher that may still act on it.
const MinTTLSeconds = 300

// Single makes of a template's Job one that is not there yet, and that is one pod which
// has to succeed once.
func Single(j *batchv1.Job, from Origins) {
	j.APIVersion, j.Kind = "batch/v1", "Job"
	from["apiVersion"], from["kind"] = Always, Always
	unborn(j)
	onePod(j, from)
}

// Expire has Kubernetes remove the finished Job after so many seconds unless its
// template says otherwise, but never before MinTTLSeconds; 0 leaves it to the template.
func Expire(j *batchv1.Job, seconds int32, from Origins) {
	const path = "spec.ttlSecondsAfterFinished"
	switch ttl := j.Spec.TTLSecondsAfterFinished; {
	case ttl != nil && *ttl < MinTTLSeconds:
		j.Spec.TTLSecondsAfterFinished = new(int32(MinTTLSeconds))
		from[path] = fmt.Sprintf("the least there may be; the template has %d", *ttl)
	case ttl == nil && seconds > 0:
		j.Spec.TTLSecondsAfterFinished = new(max(seconds, MinTTLSeconds))
		from[path] = "PREFECT_KEDA_JOB_TTL"
	}
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
