package check

import (
	"context"
	"errors"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// The Kubernetes checks' names.
const (
	kubernetesAPI  = "Kubernetes API"
	permissions    = "permissions"
	namespace      = "namespace"
	jobTemplate    = "Job template"
	serviceAccount = "service account"
	pullSecrets    = "image pull secrets"
	keySecret      = "API key Secret"
	trialJob       = "trial Job"
	kedaAPI        = "KEDA"
	scaledObject   = "ScaledObject"
)

// Cluster is the Kubernetes API.
type Cluster struct {
	// Address of the API server, and in words where it came from.
	Address, Source string
	Objects         Reader
	// Reviews and Jobs act as the launcher.
	Reviews kube.Reviewer
	Jobs    Creator
	// Warnings are what the API server had to say about Jobs it took.
	Warnings func() []string
}

// Reader reads objects.
type Reader interface {
	// Read decodes what is at a path of the API.
	Read(ctx context.Context, path string, into any) error
}

// Creator creates Jobs.
type Creator interface {
	Create(ctx context.Context, j *batchv1.Job, o metav1.CreateOptions) (*batchv1.Job, error)
}

// Renderer turns a flow run into its Job.
type Renderer interface {
	Render(ctx context.Context, run prefect.FlowRun) (*batchv1.Job, error)
}

// ClusterOptions are what is told of Kubernetes.
type ClusterOptions struct {
	// Connect makes no request. It is called once.
	Connect func() (Cluster, error)
	// Namespace is the Jobs', Home that of our own pods.
	Namespace, Home string
	// Role has the permissions that are asked for.
	Role        string
	Permissions []kube.Permission
	Renderer    Renderer
	// TemplateOrigin is the template's location; empty for the built-in one.
	TemplateOrigin string
	// KeySecret is where pods find the API key; nil if they get it as text.
	KeySecret *job.SecretKey
	// CreatesJobs is false for who creates none.
	CreatesJobs bool
}

// OfCluster are the checks of a cluster, in order.
func OfCluster(o ClusterOptions) []Check {
	c := &clusterChecks{ClusterOptions: o}
	return []Check{
		{kubernetesAPI, nil, c.reach},
		{permissions, []string{kubernetesAPI}, c.permissions},
		{namespace, []string{kubernetesAPI}, c.namespace},
		{jobTemplate, nil, c.render},
		{serviceAccount, []string{namespace, jobTemplate}, c.serviceAccount},
		{pullSecrets, []string{namespace, jobTemplate}, c.pullSecrets},
		{keySecret, []string{namespace}, c.keySecret},
		{trialJob, []string{permissions, namespace, jobTemplate}, c.tryJob},
		{kedaAPI, []string{kubernetesAPI}, c.keda},
		{scaledObject, []string{kedaAPI}, c.scaledObject},
	}
}

// clusterChecks holds what one check learns for another.
type clusterChecks struct {
	ClusterOptions

	cluster Cluster
	job     *batchv1.Job // a flow run's
}

func (c *clusterChecks) reach(ctx context.Context) (string, error) {
	const setting = "KUBECONFIG (--kubeconfig) and PREFECT_KEDA_KUBE_CONTEXT (--context)"
	var err error
	if c.cluster, err = c.Connect(); err != nil {
		return "", failed(err, "run this in a pod with a service account, or set %s", setting)
	}
	ctx, at := traced(ctx)
	var version struct {
		GitVersion string `json:"gitVersion"`
	}
	err = c.cluster.Objects.Read(ctx, "/version", &version)
	switch status := apierrors.APIStatus(nil); {
	case apierrors.IsUnauthorized(err):
		return "", failed(err, "the API server takes neither token nor certificate of %s: log in again, or set %s", c.cluster.Source, setting)
	case errors.As(err, &status):
		return "", failed(err, "see that %s is a Kubernetes API server and is well, or set %s", c.cluster.Address, setting)
	case err != nil:
		return "", unreached(err, at(), c.cluster.Address, setting)
	}
	return fmt.Sprintf("%s at %s, by %s", version.GitVersion, c.cluster.Address, c.cluster.Source), nil
}

func (c *clusterChecks) permissions(ctx context.Context) (string, error) {
	err := kube.Check(ctx, c.cluster.Reviews, c.Permissions, c.Namespace)
	if _, missing := errors.AsType[*kube.MissingError](err); missing {
		return "", failed(err, "bind the Role %s of the manifests in namespace %s; if it is somebody else who lacks them, ask as who runs it: --as system:serviceaccount:%s:%s", c.Role, c.Namespace, c.Home, c.Role)
	}
	if err != nil {
		return "", failed(err, "see that who asks may create selfsubjectaccessreviews, which everybody may by default, and may impersonate if --as is given")
	}
	return fmt.Sprintf("all %d of the Role %s in %s", len(c.Permissions), c.Role, c.Namespace), nil
}

// read reads an object of the Jobs' namespace or, by path, any other. Those who
// launch may read hardly any of these, and it is no fault of the installation.
func (c *clusterChecks) read(ctx context.Context, path string, into any) error {
	err := c.cluster.Objects.Read(ctx, path, into)
	if apierrors.IsForbidden(err) {
		return skipped("not allowed to get " + path + ": run this as somebody who is")
	}
	return err
}

func (c *clusterChecks) inNamespace(kind, name string) string {
	return "/api/v1/namespaces/" + c.Namespace + "/" + kind + "/" + name
}

func (c *clusterChecks) namespace(ctx context.Context) (string, error) {
	var found struct {
		Status struct{ Phase string }
	}
	err := c.read(ctx, "/api/v1/namespaces/"+c.Namespace, &found)
	if apierrors.IsNotFound(err) {
		return "", failed(fmt.Errorf("there is no namespace %s", c.Namespace), "kubectl create namespace %s, or set NAMESPACE (--namespace)", c.Namespace)
	}
	if err == nil && found.Status.Phase == "Terminating" {
		return "", failed(fmt.Errorf("the namespace %s is being deleted", c.Namespace), "create it again when it is gone, or set NAMESPACE (--namespace)")
	}
	return c.Namespace, unexpected(err)
}

// unexpected adds advice to an error that is not about what was asked.
func unexpected(err error) error {
	if _, ok := errors.AsType[skipped](err); ok || err == nil {
		return err
	}
	return failed(err, "see whether the API server is well, and try again")
}

func (c *clusterChecks) serviceAccount(ctx context.Context) (string, error) {
	name := c.job.Spec.Template.Spec.ServiceAccountName
	if name == "" {
		name = "default"
	}
	var found struct{}
	err := c.read(ctx, c.inNamespace("serviceaccounts", name), &found)
	if apierrors.IsNotFound(err) {
		return "", failed(fmt.Errorf("there is no service account %s in %s, and no pod is made without", name, c.Namespace), "kubectl -n %s create serviceaccount %s, or set SERVICE_ACCOUNT_NAME (--service-account-name) or the template's serviceAccountName", c.Namespace, name)
	}
	return name, unexpected(err)
}

// secret is as much of a Secret as is looked at.
type secret struct {
	Type string
	Data map[string]hidden
}

// hidden is a value that is not even decoded.
type hidden struct{}

// UnmarshalJSON drops it.
func (hidden) UnmarshalJSON([]byte) error { return nil }

func (c *clusterChecks) pullSecrets(ctx context.Context) (string, error) {
	var names, wrong []string
	for _, ref := range c.job.Spec.Template.Spec.ImagePullSecrets {
		names = append(names, ref.Name)
		var found secret
		err := c.read(ctx, c.inNamespace("secrets", ref.Name), &found)
		switch {
		case apierrors.IsNotFound(err):
			wrong = append(wrong, ref.Name+" is not there")
		case err != nil:
			return "", unexpected(err)
		case found.Type != "kubernetes.io/dockerconfigjson" && found.Type != "kubernetes.io/dockercfg":
			wrong = append(wrong, fmt.Sprintf("%s is of type %s", ref.Name, found.Type))
		}
	}
	if len(wrong) > 0 {
		return "", failed(fmt.Errorf("in %s %s, and images are pulled without", c.Namespace, strings.Join(wrong, ", ")),
			"kubectl -n %s create secret docker-registry NAME --docker-server=... --docker-username=... --docker-password=..., or set IMAGE_PULL_SECRETS (--image-pull-secrets) or the template's imagePullSecrets", c.Namespace)
	}
	if len(names) == 0 {
		return "", skipped("none are set")
	}
	return strings.Join(names, ", "), nil
}

func (c *clusterChecks) keySecret(ctx context.Context) (string, error) {
	if c.KeySecret == nil {
		return "", skipped("none is set: pods get the key, if there is one, as text")
	}
	var found secret
	err := c.read(ctx, c.inNamespace("secrets", c.KeySecret.Name), &found)
	if _, has := found.Data[c.KeySecret.Key]; apierrors.IsNotFound(err) || err == nil && !has {
		return "", failed(fmt.Errorf("there is no Secret %s with the key %s in %s, and no pod starts without", c.KeySecret.Name, c.KeySecret.Key, c.Namespace),
			"kubectl -n %s create secret generic %s --from-literal=%s=..., or set PREFECT_KEDA_API_KEY_SECRET (--api-key-secret)", c.Namespace, c.KeySecret.Name, c.KeySecret.Key)
	}
	return c.KeySecret.Name + "/" + c.KeySecret.Key, unexpected(err)
}
