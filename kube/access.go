package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Permission is one verb on one kind of object, or on a part of it as Roles
// spell it (pods/log).
type Permission struct {
	Verb, Group, Resource string
	// For says what fails without it.
	For string
}

// LauncherPermissions are those of the launcher's Role, in the Jobs' namespace.
func LauncherPermissions() []Permission {
	return []Permission{
		{"create", "batch", "jobs", "to launch flow runs"},
		{"get", "batch", "jobs", "to see whose a Job is that exists already"},
		{"list", "batch", "jobs", "to know which runs have a Job"},
		{"watch", "batch", "jobs", "to know which runs have a Job"},
		{"patch", "batch", "jobs", "to note which Jobs' trouble was seen to"},
		{"delete", "batch", "jobs", "to remove failed Jobs and stop cancelled ones"},
		{"list", "", "pods", "to tell runs what became of their pods"},
		{"watch", "", "pods", "to tell runs what became of their pods"},
		{"get", "", "pods/log", "to tell runs the last lines of their pods"},
		{"list", "", "events", "to tell runs what hinders their pods"},
		{"get", "", "namespaces", "to tell this cluster's claims from another's"},
	}
}

// ScalerPermissions are those of the scaler's Role, in each Jobs' namespace.
func ScalerPermissions() []Permission {
	return []Permission{
		{"list", "batch", "jobs", "to count claims that lack their Job and Jobs in trouble"},
		{"watch", "batch", "jobs", "to count claims that lack their Job and Jobs in trouble"},
		{"list", "", "pods", "to count Jobs in trouble"},
		{"watch", "", "pods", "to count Jobs in trouble"},
		{"get", "", "namespaces", "to tell this cluster's claims from another's"},
	}
}

// Reviewer asks the API server what we may do; client-go's
// AuthorizationV1().SelfSubjectAccessReviews() is one.
type Reviewer interface {
	Create(ctx context.Context, review *authorizationv1.SelfSubjectAccessReview, o metav1.CreateOptions) (*authorizationv1.SelfSubjectAccessReview, error)
}

// MissingError names what we may not do.
type MissingError struct {
	// Missing are the permissions by namespace, in the order asked for.
	Missing map[string][]Permission
}

// Error is one sentence for whoever writes Roles.
func (e *MissingError) Error() string {
	var parts []string
	for namespace, missing := range e.Missing {
		var verbs []string
		for _, m := range missing {
			verbs = append(verbs, fmt.Sprintf("%s %s (%s)", m.Verb, resource(m), m.For))
		}
		parts = append(parts, fmt.Sprintf("in namespace %s: %s", namespace, strings.Join(verbs, ", ")))
	}
	slices.Sort(parts)
	return "the service account lacks permissions " + strings.Join(parts, "; ") + ". Add them to its Role"
}

func resource(p Permission) string {
	if p.Group == "" {
		return p.Resource
	}
	return p.Resource + "." + p.Group
}

// MayUse asks whether we may use a service account of a namespace for a pod that
// somebody else describes; an empty name is any. Kubernetes itself never asks that.
func MayUse(ctx context.Context, client Reviewer, namespace, account string) (bool, error) {
	allowed, err := ask(ctx, client, &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "use", Resource: "serviceaccounts", Name: account})
	if err != nil {
		return false, fmt.Errorf("ask Kubernetes whether we may use serviceaccounts in %s: %w", namespace, err)
	}
	return allowed, nil
}

func ask(ctx context.Context, client Reviewer, what *authorizationv1.ResourceAttributes) (bool, error) {
	review, err := client.Create(ctx, &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: what}}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}

// Check asks for every permission in every namespace and returns a MissingError
// with all that are refused. Another error means that the question could not be
// asked.
func Check(ctx context.Context, client Reviewer, permissions []Permission, namespaces ...string) error {
	missing := map[string][]Permission{}
	for _, namespace := range namespaces {
		for _, p := range permissions {
			kind, sub, _ := strings.Cut(p.Resource, "/")
			name := ""
			if kind == "namespaces" {
				name = namespace // of which no other can be read within it
			}
			allowed, err := ask(ctx, client, &authorizationv1.ResourceAttributes{
				Namespace: namespace, Verb: p.Verb, Group: p.Group, Resource: kind, Subresource: sub, Name: name,
			})
			if err != nil {
				return fmt.Errorf("ask Kubernetes whether we may %s %s in %s: %w", p.Verb, resource(p), namespace, err)
			}
			if !allowed {
				missing[namespace] = append(missing[namespace], p)
			}
		}
	}
	if len(missing) > 0 {
		return &MissingError{missing}
	}
	return nil
}
