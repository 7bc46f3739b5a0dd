package notice

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The kinds of subjects. KEDA does not say whether a ScaledObject or a ScaledJob asks
// (keda §1.1), and a launcher knows only its pod.
const (
	scaled = "scaled"
	owner  = "owner"
)

const (
	keda = "keda.sh/v1alpha1"
	// maxOwners is the number of steps from a pod to its Deployment, and some more.
	maxOwners = 4
)

type scaledThing struct {
	Kind     string
	Metadata struct{ UID types.UID }
	Spec     struct {
		ScaleTargetRef struct{ Kind, Name string }
	}
}

func (n *Notices) readScaled(ctx context.Context, namespace, name string) (s scaledThing, err error) {
	for _, kind := range []string{"ScaledObject", "ScaledJob"} {
		err = n.Cluster.Read(ctx, fmt.Sprintf("/apis/%s/namespaces/%s/%ss/%s", keda, namespace, strings.ToLower(kind), name), &s)
		if !apierrors.IsNotFound(err) {
			s.Kind = kind
			return s, err
		}
	}
	return s, err
}

func (n *Notices) scaledObject(ctx context.Context, namespace, name string) (corev1.ObjectReference, error) {
	s, err := n.readScaled(ctx, namespace, name)
	return corev1.ObjectReference{APIVersion: keda, Kind: s.Kind, Namespace: namespace, Name: name, UID: s.Metadata.UID}, err
}

// ownerOf climbs from a pod to the object that made it, as far as we may look.
func (n *Notices) ownerOf(ctx context.Context, namespace, pod string) (corev1.ObjectReference, error) {
	is := corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: namespace, Name: pod}
	for range maxOwners {
		path, readable := pathOf(is)
		if !readable {
			return is, nil
		}
		var object struct {
			Metadata struct {
				UID             types.UID
				OwnerReferences []metav1.OwnerReference
			}
		}
		if err := n.Cluster.Read(ctx, path, &object); err != nil {
			if is.UID != "" {
				return is, nil //nolint:nilerr // we may not look any higher
			}
			return is, err
		}
		is.UID = object.Metadata.UID
		above := metav1.GetControllerOfNoCopy(&metav1.ObjectMeta{OwnerReferences: object.Metadata.OwnerReferences})
		if above == nil {
			return is, nil
		}
		is = corev1.ObjectReference{APIVersion: above.APIVersion, Kind: above.Kind, Namespace: namespace, Name: above.Name, UID: above.UID}
	}
	return is, nil
}

// pathOf is the path of an object whose owner is the better subject; false for others.
func pathOf(o corev1.ObjectReference) (string, bool) {
	switch o.Kind {
	case "Pod":
		return fmt.Sprintf("/api/v1/namespaces/%s/pods/%s", o.Namespace, o.Name), true
	case "ReplicaSet", "Job":
		return fmt.Sprintf("/apis/%s/namespaces/%s/%ss/%s", o.APIVersion, o.Namespace, strings.ToLower(o.Kind), o.Name), true
	}
	return "", false
}

func cut(text string, longest int) string {
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest-len("…")], "") + "…"
}
