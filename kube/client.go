package kube

import (
	"context"
	"fmt"
	"io"

	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"
)

// Client is client-go's typed client for the few kinds of objects we deal with.
// client-go's own Clientset knows every kind there is, which costs the binary
// twice its size and the scaler a third of its memory.
type Client struct {
	core, batch, authorization rest.Interface
	parameters                 runtime.ParameterCodec
}

// NewClient makes no request.
func NewClient(config *rest.Config) (*Client, error) {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	for _, add := range []func(*runtime.Scheme) error{batchv1.AddToScheme, authorizationv1.AddToScheme, addCore} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("set up the Kubernetes client: %w", err)
		}
	}
	http, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("set up the Kubernetes client: %w", err)
	}
	c := &Client{parameters: runtime.NewParameterCodec(scheme)}
	for version, client := range map[schema.GroupVersion]*rest.Interface{
		corev1.SchemeGroupVersion:          &c.core,
		batchv1.SchemeGroupVersion:         &c.batch,
		authorizationv1.SchemeGroupVersion: &c.authorization,
	} {
		config := rest.CopyConfig(config)
		config.APIPath, config.GroupVersion = "/apis", &version
		if version.Group == "" {
			config.APIPath = "/api"
		}
		config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
		if *client, err = rest.RESTClientForConfigAndClient(config, http); err != nil {
			return nil, fmt.Errorf("set up the Kubernetes client for %s: %w", version, err)
		}
	}
	return c, nil
}

// addCore registers only the kinds of the core group that we use.
func addCore(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Pod{}, &corev1.PodList{}, &corev1.PodLogOptions{}, &corev1.Event{}, &corev1.EventList{}, &corev1.Secret{})
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	return nil
}

// Jobs are those of one namespace.
func (c *Client) Jobs(namespace string) *gentype.ClientWithList[*batchv1.Job, *batchv1.JobList] {
	return gentype.NewClientWithList("jobs", c.batch, c.parameters, namespace,
		func() *batchv1.Job { return &batchv1.Job{} },
		func() *batchv1.JobList { return &batchv1.JobList{} },
		gentype.PrefersProtobuf[*batchv1.Job]())
}

// Pods are those of one namespace.
func (c *Client) Pods(namespace string) *gentype.ClientWithList[*corev1.Pod, *corev1.PodList] {
	return gentype.NewClientWithList("pods", c.core, c.parameters, namespace,
		func() *corev1.Pod { return &corev1.Pod{} },
		func() *corev1.PodList { return &corev1.PodList{} },
		gentype.PrefersProtobuf[*corev1.Pod]())
}

// Events are those of one namespace.
func (c *Client) Events(namespace string) *gentype.ClientWithList[*corev1.Event, *corev1.EventList] {
	return gentype.NewClientWithList("events", c.core, c.parameters, namespace,
		func() *corev1.Event { return &corev1.Event{} },
		func() *corev1.EventList { return &corev1.EventList{} },
		gentype.PrefersProtobuf[*corev1.Event]())
}

// Secrets are those of one namespace. Nothing here lists them.
func (c *Client) Secrets(namespace string) *gentype.Client[*corev1.Secret] {
	return gentype.NewClient("secrets", c.core, c.parameters, namespace,
		func() *corev1.Secret { return &corev1.Secret{} },
		gentype.PrefersProtobuf[*corev1.Secret]())
}

// Logs opens the log of a container of a pod in the namespace; ctx also bounds
// reading it.
func (c *Client) Logs(namespace string) func(ctx context.Context, pod string, o corev1.PodLogOptions) (io.ReadCloser, error) {
	return func(ctx context.Context, pod string, o corev1.PodLogOptions) (io.ReadCloser, error) {
		return c.core.Get().Namespace(namespace).Resource("pods").Name(pod).SubResource("log").VersionedParams(&o, c.parameters).Stream(ctx)
	}
}

// Reviews ask what we ourselves may do.
func (c *Client) Reviews() *gentype.Client[*authorizationv1.SelfSubjectAccessReview] {
	return gentype.NewClient("selfsubjectaccessreviews", c.authorization, c.parameters, "",
		func() *authorizationv1.SelfSubjectAccessReview { return &authorizationv1.SelfSubjectAccessReview{} },
		gentype.PrefersProtobuf[*authorizationv1.SelfSubjectAccessReview]())
}

// localReviews ask what others may do in one namespace.
func (c *Client) localReviews(namespace string) *gentype.Client[*authorizationv1.LocalSubjectAccessReview] {
	return gentype.NewClient("localsubjectaccessreviews", c.authorization, c.parameters, namespace,
		func() *authorizationv1.LocalSubjectAccessReview { return &authorizationv1.LocalSubjectAccessReview{} },
		gentype.PrefersProtobuf[*authorizationv1.LocalSubjectAccessReview]())
}
