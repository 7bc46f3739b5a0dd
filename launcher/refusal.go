package launcher

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
)

// addressee is who can mend Kubernetes' refusal of a Job.
type addressee int

const (
	// nobody: it passes by itself.
	nobody addressee = iota
	// author: the Job itself is wrong. Whether its author made it so, or the launcher's
	// settings, a trial tells.
	author
	// operator: permissions, the namespace.
	operator
	// taken: the name exists.
	taken
)

// addresseeOf reads an error of creating a Job. What it does not know is taken
// for passing: trying again by the same name does no harm.
func addresseeOf(err error) addressee {
	switch {
	case apierrors.IsAlreadyExists(err):
		return taken
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
		return operator
	case isDenial(err), isTooLarge(err):
		return author
	case apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not support dry run"):
		// A webhook with side effects was not asked, which says nothing of the Job.
		return nobody
	case isQuota(err):
		return nobody
	case apierrors.IsForbidden(err):
		return operator
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err),
		apierrors.IsUnsupportedMediaType(err), apierrors.IsNotAcceptable(err):
		return author
	}
	return nobody
}

// isDenial: an admission webhook or policy has looked at this very Job. Which status
// it says so with is its own choice.
func isDenial(err error) bool {
	text := err.Error()
	return strings.Contains(text, "denied the request") || strings.Contains(text, "denied request:")
}

// isTooLarge: for the API server, for etcd, or for what is between the two; the last
// two are server errors by their status, and will be the next time as well.
func isTooLarge(err error) bool {
	text := err.Error()
	return apierrors.IsRequestEntityTooLargeError(err) || isSecondGo(err) ||
		strings.Contains(text, "etcdserver: request is too large") || strings.Contains(text, "trying to send message larger than max")
}

// isSecondGo: an API server which hears of etcd that a Job is too large drops the
// Job's managed fields and stores it again, under another UID. It then finds the
// selector wrong that it made for the first, and says nothing else. No Job of ours
// brings a selector.
func isSecondGo(err error) bool {
	return apierrors.IsInvalid(err) && strings.Contains(err.Error(), "`selector` not auto-generated")
}

func isQuota(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota")
}

// retryAfter is how long the API server asked us to wait; zero when it did not.
func retryAfter(err error) time.Duration {
	seconds, _ := apierrors.SuggestsClientDelay(err)
	return time.Duration(seconds) * time.Second
}

// wordsOf is what the API server said, without what we wrapped around it. A field
// may be named for each element of a long list.
func wordsOf(err error) string {
	words := err.Error()
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		words = status.Status().Message
	}
	return shortened(words, maxWords)
}

// advice tells the operator what to change.
func advice(err error, namespace string) string {
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return fmt.Sprintf("the namespace %s is being deleted: create it again, or set another one for Jobs", namespace)
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("the namespace %s does not exist: create it, or set another one for Jobs", namespace)
	}
	if status := apierrors.APIStatus(nil); errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Kind == "namespaces" {
		return fmt.Sprintf("the launcher's Role in namespace %s must allow get on namespaces, which gives it no other than that", namespace)
	}
	return fmt.Sprintf("the launcher's Role in namespace %s must allow get, list, watch and create on jobs", namespace)
}

// What is told of Kubernetes' words and of a Job's YAML, in bytes: thousands of lines
// may wait for a log that is slow.
const (
	maxWords = 4_000
	maxYAML  = 16_000
)

func shortened(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// tooLarge tells an author what a Job is large by.
func tooLarge(j *batchv1.Job, err error) string {
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
		said = ": " + wordsOf(err)
	}
	return fmt.Sprintf("Kubernetes refused the Job of this run because it is too large, and never takes more than about 1.5 MiB%s. The largest parts: %s. Have the pod mount what is long from a ConfigMap, or fetch it",
		said, strings.Join(largest, ", "))
}

// asYAML is the beginning of a Job for its author to read, with what may be secret hidden: the
// reader of a flow run's log need not be allowed to read Secrets.
func asYAML(j *batchv1.Job) string {
	j = j.DeepCopy()
	hide := func(containers []corev1.Container) {
		for i := range containers {
			for k, e := range containers[i].Env {
				if e.Value != "" && !mayShow(e.Name) {
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
	return shortened(string(text), maxYAML)
}

// mayShow: what an author put into the environment may be secret under any name;
// of the settings we put there ourselves the names tell.
func mayShow(name string) bool {
	return strings.HasPrefix(name, "PREFECT__") &&
		!slices.ContainsFunc([]string{"KEY", "TOKEN", "SECRET", "AUTH", "ENV_VARS"}, func(part string) bool { return strings.Contains(name, part) })
}
