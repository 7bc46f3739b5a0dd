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
	authorsChoice  = "authors' accounts"
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
	// Namespaces are the Jobs'; a launcher has one. Home is that of our own pods.
	Namespaces []string
	Home       string
	// Role has the permissions that are asked for.
	Role        string
	Permissions []kube.Permission
	// Launching is what creates Jobs; nil for the scaler, which creates none.
	Launching *LaunchingOptions
}

// LaunchingOptions are what Jobs are made of.
type LaunchingOptions struct {
	Renderer Renderer
	// TemplateOrigin is the template's location as it may be shown; empty for the
	// built-in one.
	TemplateOrigin string
	// KeySecret is where pods find the API key; nil if they get it as text.
	KeySecret *job.SecretKey
}

// OfCluster are the checks of a cluster, in order.
func OfCluster(o ClusterOptions) []Check {
	c := &clusterChecks{ClusterOptions: o}
	checks := []Check{
		{kubernetesAPI, nil, c.reach},
		{permissions, []string{kubernetesAPI}, c.permissions},
	}
	for _, name := range o.Namespaces {
		title := namespace
		if len(o.Namespaces) > 1 {
			title += " " + name
		}
		checks = append(checks, Check{title, []string{kubernetesAPI}, func(ctx context.Context) (string, error) { return c.namespace(ctx, name) }})
	}
	if o.Launching != nil {
		checks = append(checks, (&jobChecks{LaunchingOptions: *o.Launching, clusterChecks: c, namespace: o.Namespaces[0]}).all()...)
	}
	return append(checks,
		Check{kedaAPI, []string{kubernetesAPI}, c.keda},
		Check{scaledObject, []string{kedaAPI}, c.scaledObject})
}

// clusterChecks holds what one check learns for another.
type clusterChecks struct {
	ClusterOptions

	cluster Cluster
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
	err := kube.Check(ctx, c.cluster.Reviews, c.Permissions, c.Namespaces...)
	in := strings.Join(c.Namespaces, ", ")
	if _, missing := errors.AsType[*kube.MissingError](err); missing {
		return "", failed(err, "bind the Role %s of the manifests in namespace %s; if it is somebody else who lacks them, ask as who runs it: --as system:serviceaccount:%s:%s", c.Role, in, c.Home, c.Role)
	}
	if err != nil {
		return "", failed(err, "see that who asks may create selfsubjectaccessreviews, which everybody may by default, and may impersonate if --as is given")
	}
	return fmt.Sprintf("all %d of the Role %s in %s", len(c.Permissions), c.Role, in), nil
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

func (c *clusterChecks) namespace(ctx context.Context, name string) (string, error) {
	var found struct {
		Status struct{ Phase string }
	}
	err := c.read(ctx, "/api/v1/namespaces/"+name, &found)
	if apierrors.IsNotFound(err) {
		return "", failed(fmt.Errorf("there is no namespace %s", name), "kubectl create namespace %s, or set NAMESPACE (--namespace)", name)
	}
	if err == nil && found.Status.Phase == "Terminating" {
		return "", failed(fmt.Errorf("the namespace %s is being deleted", name), "create it again when it is gone, or set NAMESPACE (--namespace)")
	}
	return name, unexpected(err)
}

// unexpected adds advice to an error that is not about what was asked.
func unexpected(err error) error {
	if _, ok := errors.AsType[skipped](err); ok || err == nil {
		return err
	}
	return failed(err, "see whether the API server is well, and try again")
}
