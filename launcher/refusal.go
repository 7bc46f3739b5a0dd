package launcher

import (
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
	// author: the Job itself is wrong.
	author
	// operator: permissions, the namespace.
	operator
	// taken: the name exists.
	taken
)

// addresseeOf reads an error of creating a Job. What it does not know is taken
// for passing: trying again by the same name does no harm.
func addresseeOf(err error) addressee {
	text := err.Error()
	switch {
	case apierrors.IsAlreadyExists(err):
		return taken
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
		return operator
	case strings.Contains(text, "denied the request"), strings.Contains(text, "denied request:"):
		// An admission webhook or policy has looked at this very Job; which status it
		// says so with is its own choice.
		return author
	case isQuota(err):
		return nobody
	case apierrors.IsForbidden(err):
		return operator
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err),
		apierrors.IsUnsupportedMediaType(err), apierrors.IsNotAcceptable(err):
		return author
	}
	return nobody
}

func isQuota(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota")
}

// retryAfter is how long the API server asked us to wait; zero when it did not.
func retryAfter(err error) time.Duration {
	seconds, _ := apierrors.SuggestsClientDelay(err)
	return time.Duration(seconds) * time.Second
}

// wordsOf is what the API server said, without what we wrapped around it.
func wordsOf(err error) string {
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return status.Status().Message
	}
	return err.Error()
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

// asYAML is the Job for its author to read, with what may be secret hidden: the
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
	return string(text)
}

// mayShow: what an author put into the environment may be secret under any name;
// of the settings we put there ourselves the names tell.
func mayShow(name string) bool {
	return strings.HasPrefix(name, "PREFECT__") &&
		!slices.ContainsFunc([]string{"KEY", "TOKEN", "SECRET", "AUTH", "ENV_VARS"}, func(part string) bool { return strings.Contains(name, part) })
}
