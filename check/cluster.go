package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
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
	authSecret     = "auth string Secret"
	trialJob       = "trial Job"
	poolJobs       = "work pools' Jobs"
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
	// JobsIn is Jobs of another namespace; nil if there is only one.
	JobsIn func(namespace string) Creator
	// ReviewsOf asks about the launcher from our own account, if we may not impersonate it;
	// nil when the check runs as the launcher itself.
	ReviewsOf kube.Reviewer
	// Warnings are the API server's warnings about Jobs it accepted.
	Warnings func() []string
}

// Reader reads objects.
type Reader interface {
	// Read decodes the object at a path of the API.
	Read(ctx context.Context, path string, into any) error
}

// Creator creates Jobs.
type Creator interface {
	Create(ctx context.Context, j *batchv1.Job, o metav1.CreateOptions) (*batchv1.Job, error)
}

// Renderer turns a flow run into its Job.
type Renderer interface {
	Render(ctx context.Context, run prefect.FlowRun) (job.Rendering, error)
	// Neutral is an invented flow run whose author left everything to the launcher.
	Neutral(ownTemplate bool) prefect.FlowRun
}

// ClusterOptions describe the cluster and what the process needs of it.
type ClusterOptions struct {
	// Connect makes no request. It is called once.
	Connect func() (Cluster, error)
	// Namespaces are those of the Jobs; a launcher has one. Home is the one of our own pods.
	Namespaces []string
	Home       string
	// Metadata finds mistakes in the metadata of a ScaledObject's trigger for our scaler.
	Metadata func(map[string]string) error
	// Role is the Role that grants the Permissions.
	Role        string
	Permissions []kube.Permission
	// Launching is nil for the scaler, which creates no Jobs.
	Launching *LaunchingOptions
}

// LaunchingOptions describe the Jobs that a launcher creates.
type LaunchingOptions struct {
	Renderer Renderer
	// TemplateOrigin is the template's location without secrets; empty for the built-in
	// template.
	TemplateOrigin string
	// KeySecret holds the API key for pods; nil if they get it as text.
	KeySecret *corev1.SecretKeySelector
	// AuthSecret holds the auth string for pods; nil if they get it as text.
	AuthSecret *corev1.SecretKeySelector
	// OfPools makes a Job of each work pool that is served; nil where there are none.
	OfPools func(ctx context.Context) ([]PoolJob, error)
}

// PoolJob is the Job of an invented run in a work pool, or why it cannot be made.
type PoolJob struct {
	Pool string
	Job  *batchv1.Job
	Err  error
}

// OfCluster returns the checks of a cluster, in order.
func OfCluster(o ClusterOptions) []Check {
	c := &clusterChecks{ClusterOptions: o}
	checks := []Check{{kubernetesAPI, nil, c.reach}}
	for _, name := range o.Namespaces {
		title := namespace
		if len(o.Namespaces) > 1 {
			title += " " + name
		}
		checks = append(checks, Check{title, []string{kubernetesAPI}, func(ctx context.Context) (string, error) { return c.namespace(ctx, name) }})
	}
	checks = append(checks, Check{permissions, []string{kubernetesAPI}, c.permissions})
	if o.Launching != nil {
		checks = append(checks, (&jobChecks{LaunchingOptions: *o.Launching, clusterChecks: c, namespace: o.Namespaces[0]}).all()...)
	}
	return append(checks,
		Check{kedaAPI, []string{kubernetesAPI}, c.keda},
		Check{scaledObject, []string{kedaAPI}, c.scaledObject})
}

// clusterChecks keeps what later checks need from earlier ones.
type clusterChecks struct {
	ClusterOptions

	cluster Cluster
	notAs   error    // why we cannot impersonate the launcher and ask about it instead
	absent  []string // namespaces of the Jobs that do not exist
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
		return "", failed(err, "the API server rejects the credentials of %s: log in again, or set %s", c.cluster.Source, setting)
	case errors.As(err, &status):
		return "", failed(err, "check that %s is a healthy Kubernetes API server, or set %s", c.cluster.Address, setting)
	case err != nil:
		return "", unreached(err, at(), c.cluster.Address, setting)
	}
	return fmt.Sprintf("%s at %s, by %s", version.GitVersion, c.cluster.Address, c.cluster.Source), nil
}

func (c *clusterChecks) permissions(ctx context.Context) (string, error) {
	namespaces := slices.DeleteFunc(slices.Clone(c.Namespaces), func(ns string) bool { return slices.Contains(c.absent, ns) })
	if len(namespaces) == 0 {
		return "", skipped("none of the namespaces exists")
	}
	in := strings.Join(namespaces, ", ")
	err := kube.Check(ctx, c.cluster.Reviews, c.Permissions, namespaces...)
	if apierrors.IsForbidden(err) && c.cluster.ReviewsOf != nil {
		c.cluster.Reviews, c.notAs = c.cluster.ReviewsOf, err
		err = kube.Check(ctx, c.cluster.Reviews, c.Permissions, namespaces...)
	}
	if _, missing := errors.AsType[*kube.MissingError](err); missing {
		return "", failed(err, "bind the Role %s of the manifests in namespace %s; to check the account of our pods instead of this one, give --as system:serviceaccount:%s:%s", c.Role, in, c.Home, c.Role)
	}
	if err != nil {
		return "", failed(err, "your account cannot create selfsubjectaccessreviews (allowed to everyone by default); with --as it also needs to impersonate, or to create localsubjectaccessreviews there")
	}
	return fmt.Sprintf("all %d of the Role %s in %s", len(c.Permissions), c.Role, in), nil
}

// read reads an object of the cluster. Launchers may read hardly any of them, so a refusal
// is not a mistake of the installation.
func (c *clusterChecks) read(ctx context.Context, path string, into any) error {
	err := c.cluster.Objects.Read(ctx, path, into)
	if apierrors.IsForbidden(err) {
		return skipped("not allowed to get " + path + ": run this with an account that is")
	}
	return err
}

func (c *clusterChecks) namespace(ctx context.Context, name string) (string, error) {
	var found struct {
		Status struct{ Phase string }
	}
	err := c.read(ctx, "/api/v1/namespaces/"+name, &found)
	if apierrors.IsNotFound(err) {
		c.absent = append(c.absent, name)
		return "", failed(fmt.Errorf("there is no namespace %s", name), "kubectl create namespace %s and apply the manifests again, because its Roles are missing too; or set NAMESPACE (--namespace)", name)
	}
	if err == nil && found.Status.Phase == "Terminating" {
		return "", failed(fmt.Errorf("the namespace %s is being deleted", name), "wait until it is gone and create it again, or set NAMESPACE (--namespace)")
	}
	return name, unexpected(err)
}

// unexpected adds advice to an error that does not answer the check.
func unexpected(err error) error {
	if _, ok := errors.AsType[skipped](err); ok || err == nil {
		return err
	}
	return failed(err, "check whether the API server is healthy, and try again")
}
