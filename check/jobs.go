package check

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/prefect-keda/prefect-keda/kube"
)

type jobChecks struct {
	LaunchingOptions
	*clusterChecks

	namespace string
	job       *batchv1.Job // a flow run's
}

func (c *jobChecks) all() []Check {
	checks := []Check{
		{jobTemplate, nil, c.render},
		{serviceAccount, []string{namespace, jobTemplate}, c.serviceAccount},
		{authorsChoice, []string{permissions}, c.authorsAccounts},
		{pullSecrets, []string{namespace, jobTemplate}, c.pullSecrets},
		{keySecret, []string{namespace}, c.keySecret},
		{trialJob, []string{permissions, namespace, jobTemplate}, c.tryJob},
	}
	if c.AuthSecret != nil {
		checks = append(checks, Check{authSecret, []string{namespace}, c.authSecret})
	}
	if c.OfPools != nil {
		checks = append(checks, Check{poolJobs, []string{permissions, namespace, credentials}, c.tryPools})
	}
	return checks
}

func (c *jobChecks) inNamespace(kind, name string) string {
	return "/api/v1/namespaces/" + c.namespace + "/" + kind + "/" + name
}

// noJob is the reason to skip a check when the template is not here, so no Job is rendered.
const noJob = skipped("there is no Job to check")

func (c *jobChecks) serviceAccount(ctx context.Context) (string, error) {
	if c.job == nil {
		return "", noJob
	}
	name := cmp.Or(c.job.Spec.Template.Spec.ServiceAccountName, "default")
	var found struct{}
	err := c.read(ctx, c.inNamespace("serviceaccounts", name), &found)
	if apierrors.IsNotFound(err) {
		return "", failed(fmt.Errorf("there is no service account %s in %s, and pods cannot be created without it", name, c.namespace), "kubectl -n %s create serviceaccount %s, or set SERVICE_ACCOUNT_NAME (--service-account-name) or the template's serviceAccountName", c.namespace, name)
	}
	return name, unexpected(err)
}

// authorsAccounts says which service accounts the Role lets authors choose. It never
// fails: both are choices of the operator.
func (c *jobChecks) authorsAccounts(ctx context.Context) (string, error) {
	all, err := kube.MayUse(ctx, c.cluster.Reviews, c.namespace, "")
	switch {
	case err != nil:
		return "", unexpected(err)
	case all:
		return "flows may name any service account of " + c.namespace, nil
	}
	return "flows may name the service accounts that the Role " + c.Role + " lets it use, and the default", nil
}

// secret is the part of a Secret that checks look at.
type secret struct {
	Type string
	Data map[string]hidden
}

// hidden is a value that we do not decode.
type hidden struct{}

func (hidden) UnmarshalJSON([]byte) error { return nil }

func (c *jobChecks) pullSecrets(ctx context.Context) (string, error) {
	if c.job == nil {
		return "", noJob
	}
	var names, wrong []string
	for _, ref := range c.job.Spec.Template.Spec.ImagePullSecrets {
		names = append(names, ref.Name)
		var found secret
		err := c.read(ctx, c.inNamespace("secrets", ref.Name), &found)
		switch {
		case apierrors.IsNotFound(err):
			wrong = append(wrong, ref.Name+" does not exist")
		case err != nil:
			return "", unexpected(err)
		case found.Type != "kubernetes.io/dockerconfigjson" && found.Type != "kubernetes.io/dockercfg":
			wrong = append(wrong, fmt.Sprintf("%s is of type %s", ref.Name, found.Type))
		}
	}
	if len(wrong) > 0 {
		return "", failed(fmt.Errorf("in %s %s, so images are pulled without it", c.namespace, strings.Join(wrong, ", ")),
			"kubectl -n %s create secret docker-registry NAME --docker-server=... --docker-username=... --docker-password=..., or set IMAGE_PULL_SECRETS (--image-pull-secrets) or the template's imagePullSecrets", c.namespace)
	}
	if len(names) == 0 {
		return "", skipped("none are set")
	}
	return strings.Join(names, ", "), nil
}

func (c *jobChecks) keySecret(ctx context.Context) (string, error) {
	if c.KeySecret == nil {
		return "", skipped("not set: pods get the key, if there is one, as text")
	}
	return c.podsSecret(ctx, *c.KeySecret, "PREFECT_KEDA_API_KEY_SECRET (--api-key-secret)")
}

func (c *jobChecks) authSecret(ctx context.Context) (string, error) {
	return c.podsSecret(ctx, *c.AuthSecret, "PREFECT_KEDA_API_AUTH_STRING_SECRET (--auth-string-secret)")
}

// podsSecret looks for a Secret in each namespace of the Jobs, where pods read it.
func (c *jobChecks) podsSecret(ctx context.Context, of corev1.SecretKeySelector, setting string) (string, error) {
	for _, in := range c.Namespaces {
		var found secret
		err := c.read(ctx, "/api/v1/namespaces/"+in+"/secrets/"+of.Name, &found)
		if _, has := found.Data[of.Key]; apierrors.IsNotFound(err) || err == nil && !has {
			return "", failed(fmt.Errorf("there is no Secret %s with the key %s in %s, and pods do not start without it", of.Name, of.Key, in),
				"kubectl -n %s create secret generic %s --from-literal=%s=..., or set %s", in, of.Name, of.Key, setting)
		}
		if err != nil {
			return of.Name + "/" + of.Key, unexpected(err)
		}
	}
	return of.Name + "/" + of.Key, nil
}
