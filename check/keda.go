package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const installKEDA = "install KEDA 2.17 or newer (https://keda.sh/docs/latest/deploy/) and apply the manifests again"

func (c *clusterChecks) keda(ctx context.Context) (string, error) {
	var group metav1.APIGroup
	err := c.read(ctx, "/apis/keda.sh", &group)
	if apierrors.IsNotFound(err) {
		return "", failed(errors.New("the API group keda.sh does not exist"), installKEDA)
	}
	if err != nil {
		return "", unexpected(err)
	}
	// KEDA's manifests and its chart label the CRDs, but not everybody may read those.
	var crd metav1.PartialObjectMetadata
	if err := c.read(ctx, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/scaledobjects.keda.sh", &crd); err == nil {
		if version := crd.Labels["app.kubernetes.io/version"]; version != "" {
			return version, nil
		}
	}
	return "installed", nil
}

// scaled is a ScaledObject or ScaledJob.
type scaled struct {
	Metadata struct{ Name, Namespace string }
	Spec     struct{ Triggers []trigger }
	Status   struct{ Conditions []metav1.Condition }
}

type trigger struct {
	Type     string
	Metadata map[string]string
}

func (t trigger) external() bool { return t.Type == "external-push" || t.Type == "external" }

// isOurs reports whether a trigger asks the scaler of the installation in a namespace. It
// goes by the Service's name, to which kustomize may have added something. An address
// without a namespace means the Service's own.
func (t trigger) isOurs(home string) bool {
	host, _, _ := strings.Cut(t.Metadata["scalerAddress"], ":")
	service, domain, _ := strings.Cut(host, ".")
	namespace, _, _ := strings.Cut(domain, ".")
	return t.external() && strings.Contains(service, "prefect-keda") && (namespace == home || namespace == "")
}

func (s scaled) external() bool { return slices.ContainsFunc(s.Spec.Triggers, trigger.external) }

// misspelt joins the mistakes in the metadata of the triggers that ask our scaler.
func (c *clusterChecks) misspelt(s scaled) error {
	var all []error
	for _, t := range s.Spec.Triggers {
		if t.isOurs(c.Home) {
			all = append(all, c.Metadata(t.Metadata))
		}
	}
	return errors.Join(all...)
}

// everywhere lists the objects of a kind that may ask our scaler: in all namespaces, if we
// may read those, else in our own.
func (c *clusterChecks) everywhere(ctx context.Context, kind string) ([]scaled, error) {
	var list struct{ Items []scaled }
	if err := c.read(ctx, "/apis/keda.sh/v1alpha1/"+kind+"s", &list); err == nil {
		return list.Items, nil
	}
	if err := c.read(ctx, "/apis/keda.sh/v1alpha1/namespaces/"+c.Home+"/"+kind+"s", &list); err != nil {
		return nil, unexpected(err)
	}
	for i := range list.Items {
		list.Items[i].Metadata.Namespace = c.Home
	}
	return list.Items, nil
}

func (s scaled) condition(kind string) metav1.Condition {
	i := slices.IndexFunc(s.Status.Conditions, func(c metav1.Condition) bool { return c.Type == kind })
	if i < 0 {
		return metav1.Condition{Message: "KEDA has not looked at it yet"}
	}
	return s.Status.Conditions[i]
}

// scaledObject checks all objects with an external trigger, because their names are free.
func (c *clusterChecks) scaledObject(ctx context.Context) (string, error) {
	var good, bad []string
	var advice, mend string
	for _, kind := range []string{"scaledobject", "scaledjob"} {
		all, err := c.everywhere(ctx, kind)
		if err != nil {
			return "", err
		}
		for _, s := range all {
			name, elsewhere := kind+" "+s.Metadata.Name, s.Metadata.Namespace != c.Home
			misspelt := c.misspelt(s)
			switch ready := s.condition("Ready"); {
			case misspelt != nil:
				// This comes first: such an object is never Ready, and KEDA does not say why.
				bad = append(bad, fmt.Sprintf("%s in %s: %v", name, s.Metadata.Namespace, misspelt))
				mend = fmt.Sprintf("fix the trigger's metadata: kubectl -n %s edit %s", s.Metadata.Namespace, name)
			case elsewhere || !s.external():
			case s.condition("Paused").Status == metav1.ConditionTrue:
				bad = append(bad, name+" is paused")
				advice = fmt.Sprintf("remove its annotations autoscaling.keda.sh/paused...: kubectl -n %s edit %s", c.Home, name)
			case ready.Status != metav1.ConditionTrue:
				bad = append(bad, fmt.Sprintf("%s is not Ready: %s", name, ready.Message))
				advice = fmt.Sprintf("its events say why: kubectl -n %s describe %s. If they name metadata, fix it there; if a connection failed, check that the scaler runs and that scalerAddress leads to it", c.Home, name)
			default:
				good = append(good, name+" is Ready")
			}
		}
	}
	switch {
	case mend != "":
		return "", failed(errors.New(strings.Join(bad, "; ")), "%s", mend)
	case len(bad) > 0:
		return "", failed(errors.New(strings.Join(bad, "; ")), "%s", advice)
	case len(good) == 0:
		return "", failed(fmt.Errorf("there is no ScaledObject or ScaledJob with an external trigger in %s", c.Home),
			"apply the manifests (prefect-keda install ... | kubectl apply -f -), or give the namespace of the launchers: --install-namespace")
	}
	return strings.Join(good, ", "), nil
}
