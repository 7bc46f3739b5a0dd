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
	// For says what we need it for.
	For string
}

// LauncherPermissions are those of the launcher's Role, in the Jobs' namespace.
func LauncherPermissions() []Permission {
	return []Permission{
		{"create", "batch", "jobs", "to launch flow runs"},
		{"get", "batch", "jobs", "to see which run an existing Job belongs to"},
		{"list", "batch", "jobs", "to know which runs have a Job"},
		{"watch", "batch", "jobs", "to know which runs have a Job"},
		{"patch", "batch", "jobs", "to note on Jobs in trouble what was done"},
		{"delete", "batch", "jobs", "to remove failed Jobs and stop cancelled ones"},
		{"list", "", "pods", "to tell runs what became of their pods"},
		{"watch", "", "pods", "to tell runs what became of their pods"},
		{"get", "", "pods/log", "to tell runs the last lines of their pods"},
		{"list", "", "events", "to tell runs what holds their pods up"},
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

// ReviewsOf asks what another user may do in a namespace, without impersonating them.
func (c *Client) ReviewsOf(user string) Reviewer { return reviewsOf{c, user} }

type reviewsOf struct {
	client *Client
	user   string
}

// Create asks about the user and answers as if we had asked about ourselves.
func (r reviewsOf) Create(ctx context.Context, review *authorizationv1.SelfSubjectAccessReview, o metav1.CreateOptions) (*authorizationv1.SelfSubjectAccessReview, error) {
	at := review.Spec.ResourceAttributes
	asked := &authorizationv1.LocalSubjectAccessReview{
		ObjectMeta: metav1.ObjectMeta{Namespace: at.Namespace},
		Spec:       authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: at, User: r.user, Groups: groupsOf(r.user)},
	}
	answer, err := r.client.localReviews(at.Namespace).Create(ctx, asked, o)
	if err != nil {
		return nil, err
	}
	review = review.DeepCopy()
	review.Status = answer.Status
	return review, nil
}

// groupsOf are the groups that Kubernetes itself puts a user into.
func groupsOf(user string) []string {
	groups := []string{"system:authenticated"}
	if account, ok := strings.CutPrefix(user, "system:serviceaccount:"); ok {
		namespace, _, _ := strings.Cut(account, ":")
		groups = append(groups, "system:serviceaccounts", "system:serviceaccounts:"+namespace)
	}
	return groups
}

// MissingError names the permissions that we lack.
type MissingError struct {
	// Missing are the permissions by namespace, in the order asked for.
	Missing map[string][]Permission
	// Asked is how many were asked for in each.
	Asked int
}

// Error is for the operator, who writes the Roles. We cannot tell a missing namespace
// from one without our RoleBinding: both refuse everything.
func (e *MissingError) Error() string {
	var some, none []string
	for namespace, missing := range e.Missing {
		if len(missing) == e.Asked {
			none = append(none, namespace)
			continue
		}
		var verbs []string
		for _, m := range missing {
			verbs = append(verbs, fmt.Sprintf("%s %s (%s)", m.Verb, resource(m), m.For))
		}
		some = append(some, fmt.Sprintf("in namespace %s: %s", namespace, strings.Join(verbs, ", ")))
	}
	slices.Sort(none)
	slices.Sort(some)
	var parts []string
	if len(none) > 0 {
		parts = append(parts, "the service account may do nothing in namespace "+strings.Join(none, ", ")+
			": check that the namespace exists and is spelled right, and apply the manifests again, which bind the Role in it")
	}
	if len(some) > 0 {
		parts = append(parts, "the service account lacks permissions "+strings.Join(some, "; ")+". Add them to its Role")
	}
	return strings.Join(parts, "; ")
}

func resource(p Permission) string {
	if p.Group == "" {
		return p.Resource
	}
	return p.Resource + "." + p.Group
}

// MayUse asks whether we may use a service account of a namespace for a pod that
// somebody else describes; an empty name asks about all. Kubernetes itself never asks
// this.
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
// with all that are refused. Any other error means that the API server did not answer.
func Check(ctx context.Context, client Reviewer, permissions []Permission, namespaces ...string) error {
	missing := map[string][]Permission{}
	for _, namespace := range namespaces {
		for _, p := range permissions {
			kind, sub, _ := strings.Cut(p.Resource, "/")
			name := ""
			if kind == "namespaces" {
				name = namespace // a Role in a namespace can allow reading that one only
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
		return &MissingError{missing, len(permissions)}
	}
	return nil
}
