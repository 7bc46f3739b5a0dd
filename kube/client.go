package kube

import (
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"
)

// Client is client-go's typed client for the two kinds of objects we create.
// client-go's own Clientset knows every kind there is, which costs the binary
// twice its size and the scaler a third of its memory.
type Client struct {
	batch, authorization rest.Interface
	parameters           runtime.ParameterCodec
}

// NewClient makes no request.
func NewClient(config *rest.Config) (*Client, error) {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	for _, add := range []func(*runtime.Scheme) error{batchv1.AddToScheme, authorizationv1.AddToScheme} {
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
		batchv1.SchemeGroupVersion:         &c.batch,
		authorizationv1.SchemeGroupVersion: &c.authorization,
	} {
		config := rest.CopyConfig(config)
		config.APIPath, config.GroupVersion = "/apis", &version
		config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
		if *client, err = rest.RESTClientForConfigAndClient(config, http); err != nil {
			return nil, fmt.Errorf("set up the Kubernetes client for %s: %w", version, err)
		}
	}
	return c, nil
}

// Jobs are those of one namespace.
func (c *Client) Jobs(namespace string) *gentype.ClientWithList[*batchv1.Job, *batchv1.JobList] {
	return gentype.NewClientWithList("jobs", c.batch, c.parameters, namespace,
		func() *batchv1.Job { return &batchv1.Job{} },
		func() *batchv1.JobList { return &batchv1.JobList{} },
		gentype.PrefersProtobuf[*batchv1.Job]())
}

// Reviews ask what we ourselves may do.
func (c *Client) Reviews() *gentype.Client[*authorizationv1.SelfSubjectAccessReview] {
	return gentype.NewClient("selfsubjectaccessreviews", c.authorization, c.parameters, "",
		func() *authorizationv1.SelfSubjectAccessReview { return &authorizationv1.SelfSubjectAccessReview{} },
		gentype.PrefersProtobuf[*authorizationv1.SelfSubjectAccessReview]())
}
