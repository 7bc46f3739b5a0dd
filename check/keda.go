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
		return "", failed(errors.New("the API group keda.sh is not there"), installKEDA)
	}
	if err != nil {
		return "", unexpected(err)
	}
	// Its manifests and its chart label the CRDs; not everybody may read them.
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
	Metadata struct{ Name string }
	Spec     struct{ Triggers []struct{ Type string } }
	Status   struct{ Conditions []metav1.Condition }
}

func (s scaled) external() bool {
	return slices.ContainsFunc(s.Spec.Triggers, func(t struct{ Type string }) bool {
		return t.Type == "external-push" || t.Type == "external"
	})
}

func (s scaled) condition(kind string) metav1.Condition {
	i := slices.IndexFunc(s.Status.Conditions, func(c metav1.Condition) bool { return c.Type == kind })
	if i < 0 {
		return metav1.Condition{Message: "KEDA has not looked at it yet"}
	}
	return s.Status.Conditions[i]
}

// scaledObject looks for all that have a scaler of their own: names are free.
func (c *clusterChecks) scaledObject(ctx context.Context) (string, error) {
	var good, bad []string
	var advice string
	for _, kind := range []string{"scaledobject", "scaledjob"} {
		var list struct{ Items []scaled }
		if err := c.read(ctx, "/apis/keda.sh/v1alpha1/namespaces/"+c.Home+"/"+kind+"s", &list); err != nil {
			return "", unexpected(err)
		}
		for _, s := range list.Items {
			if !s.external() {
				continue
			}
			name := kind + " " + s.Metadata.Name
			switch ready := s.condition("Ready"); {
			case s.condition("Paused").Status == metav1.ConditionTrue:
				bad = append(bad, name+" is paused")
				advice = fmt.Sprintf("take its annotations autoscaling.keda.sh/paused... away: kubectl -n %s edit %s", c.Home, name)
			case ready.Status != metav1.ConditionTrue:
				bad = append(bad, fmt.Sprintf("%s is not Ready: %s", name, ready.Message))
				advice = fmt.Sprintf("read its events, and see that the scaler runs and its scalerAddress is right: kubectl -n %s describe %s", c.Home, name)
			default:
				good = append(good, name+" is Ready")
			}
		}
	}
	switch {
	case len(bad) > 0:
		return "", failed(errors.New(strings.Join(bad, "; ")), "%s", advice)
	case len(good) == 0:
		return "", failed(fmt.Errorf("no ScaledObject or ScaledJob with an external trigger is in %s", c.Home),
			"apply the manifests (prefect-keda install ... | kubectl apply -f -), or say where launchers run: --launcher-namespace")
	}
	return strings.Join(good, ", "), nil
}
