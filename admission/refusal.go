package admission

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/yaml"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/jobs"
)

// Addressee is the person who can fix the cause of Kubernetes' refusal of a Job.
type Addressee int

const (
	// Nobody has to act: the cause passes by itself.
	Nobody Addressee = iota
	// Author has to change the Job, unless a trial tells that the launcher's settings made
	// it wrong.
	Author
	// Operator has to change permissions or the namespace.
	Operator
	// NameExists is no refusal: somebody has created a Job of this name.
	NameExists
)

// AddresseeOf reads an error of creating a Job. It takes unknown errors for passing:
// trying again under the same name does no harm.
func AddresseeOf(err error) Addressee {
	switch {
	case apierrors.IsAlreadyExists(err):
		return NameExists
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
		return Operator
	case isDenial(err), IsTooLarge(err):
		return Author
	case apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not support dry run"):
		// Kubernetes did not ask a webhook with side effects, so nothing is known of the Job.
		return Nobody
	case IsQuota(err):
		return Nobody
	case apierrors.IsForbidden(err):
		return Operator
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err),
		apierrors.IsUnsupportedMediaType(err), apierrors.IsNotAcceptable(err):
		return Author
	}
	return Nobody
}

// isDenial reports whether an admission webhook or policy refused this very Job. It goes
// by the words, because each webhook chooses its own status.
func isDenial(err error) bool {
	text := err.Error()
	return strings.Contains(text, "denied the request") || strings.Contains(text, "denied request:")
}

// IsTooLarge reports whether the Job is too large for the API server, for etcd or for
// the connection between them. The last two have the status of server errors, but no
// retry helps.
func IsTooLarge(err error) bool {
	text := err.Error()
	return apierrors.IsRequestEntityTooLargeError(err) || isSecondGo(err) ||
		strings.Contains(text, "etcdserver: request is too large") || strings.Contains(text, "trying to send message larger than max")
}

// isSecondGo reports whether etcd refused the Job as too large and the API server tried
// again without the managed fields, under another UID. The API server then only says
// that the selector, which it made for the first UID, is wrong. Our Jobs bring none.
func isSecondGo(err error) bool {
	return apierrors.IsInvalid(err) && strings.Contains(err.Error(), "`selector` not auto-generated")
}

// IsQuota reports whether a quota is full.
func IsQuota(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota")
}

// RetryAfter is how long the API server asked us to wait; zero if it did not ask.
func RetryAfter(err error) time.Duration {
	seconds, _ := apierrors.SuggestsClientDelay(err)
	return time.Duration(seconds) * time.Second
}

// Advice tells the operator what to change.
func Advice(err error, namespace string) string {
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return fmt.Sprintf("the namespace %s is being deleted: create it again, or set another one for Jobs", namespace)
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("the namespace %s does not exist: create it, or set another one for Jobs", namespace)
	}
	kind := ""
	if status := apierrors.APIStatus(nil); errors.As(err, &status) && status.Status().Details != nil {
		kind = status.Status().Details.Kind
	}
	switch kind {
	case "namespaces":
		return fmt.Sprintf("the launcher's Role in namespace %s must allow get on namespaces, which gives it no other than that", namespace)
	case "secrets":
		return fmt.Sprintf("the launcher's Role in namespace %s must allow create, patch and delete on secrets", namespace)
	}
	return fmt.Sprintf("the launcher's Role in namespace %s must allow get, list, watch and create on jobs", namespace)
}

// MaxYAML bounds a Job's YAML in a run's log, in bytes: thousands of lines may wait for
// a slow log.
const MaxYAML = 16_000

// TooLarge tells an author which parts make a Job too large.
func TooLarge(j *batchv1.Job, err error) string {
	type part struct {
		name string
		size int
	}
	parts := []part{}
	for key, value := range j.Annotations {
		parts = append(parts, part{"the annotation " + key, len(value)})
	}
	for key, value := range j.Spec.Template.Annotations {
		parts = append(parts, part{"the pods' annotation " + key, len(value)})
	}
	for _, c := range slices.Concat(j.Spec.Template.Spec.InitContainers, j.Spec.Template.Spec.Containers) {
		for _, e := range c.Env {
			parts = append(parts, part{fmt.Sprintf("the variable %s of the container %s", e.Name, c.Name), len(e.Value)})
		}
		parts = append(parts, part{"command and args of the container " + c.Name, len(strings.Join(slices.Concat(c.Command, c.Args), " "))})
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Or(cmp.Compare(b.size, a.size), strings.Compare(a.name, b.name)) })
	var largest []string
	for _, p := range parts[:min(3, len(parts))] {
		largest = append(largest, fmt.Sprintf("%s has %d KiB", p.name, p.size>>10))
	}
	said := ""
	if !isSecondGo(err) {
		said = ": " + jobs.WordsOf(err)
	}
	return fmt.Sprintf("Kubernetes refused the Job of this run because it is too large, and never takes more than about 1.5 MiB%s. The largest parts: %s. Let the pod mount large values from a ConfigMap, or fetch them",
		said, strings.Join(largest, ", "))
}

// AsYAML is the beginning of a Job for its author to read. It hides values that may be
// secret, because readers of a flow run's log may not be allowed to read Secrets.
func AsYAML(j *batchv1.Job) string {
	j = j.DeepCopy()
	hide := func(containers []corev1.Container) {
		for i := range containers {
			for k, e := range containers[i].Env {
				if e.Value != "" && (!mayShow(e.Name) || holdsPassword(e.Value)) {
					containers[i].Env[k].Value = "[hidden]"
				}
			}
		}
	}
	hide(j.Spec.Template.Spec.InitContainers)
	hide(j.Spec.Template.Spec.Containers)
	text, err := yaml.Marshal(j)
	if err != nil {
		return fmt.Sprintf("(it cannot be shown: %v)", err)
	}
	return job.Shortened(string(text), MaxYAML)
}

// holdsPassword reports whether the value is a URL with a user, as the API's may be.
func holdsPassword(value string) bool {
	_, rest, isURL := strings.Cut(value, "://")
	return isURL && strings.Contains(rest, "@")
}

// mayShow reports whether a variable is one of our own settings and its name no secret's.
// An author's variable may be secret under any name.
func mayShow(name string) bool {
	return strings.HasPrefix(name, "PREFECT__") &&
		!slices.ContainsFunc([]string{"KEY", "TOKEN", "SECRET", "AUTH", "ENV_VARS"}, func(part string) bool { return strings.Contains(name, part) })
}
