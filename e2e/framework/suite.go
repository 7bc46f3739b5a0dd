// Package framework is the environment of the end-to-end scenarios: a namespace
// for each, with a stand-in Prefect API, a scaler and a launcher of its own; functions to
// wait and to assert; and evidence when a scenario fails.
//
// Scenarios say what has to happen; this package knows how to find out.
package framework

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/prefect-keda/prefect-keda/e2e/cluster"
	"github.com/prefect-keda/prefect-keda/e2e/product"
)

// ours marks the scenarios' objects in the cluster, so that the next run can remove those of
// an interrupted one.
const ours = "prefect-keda.io/e2e"

// Suite holds what all scenarios share.
type Suite struct {
	// Cluster has kubectl, and Config says how to reach it.
	Cluster *cluster.Cluster
	Config  *rest.Config
	Client  kubernetes.Interface
	Dynamic dynamic.Interface
	Mapper  meta.RESTMapper
	Images  product.Images
	Root    string
	Report  *Report
	out     io.Writer
	release func()
	real    server
}

// End prints the measurements and releases the cluster.
func (s *Suite) End() {
	s.Report.Print()
	s.endPrefect3()
	s.release()
}

// Start brings the cluster up with the images of this tree, and fails if something is
// missing that scenarios need. It reserves the cluster until End.
func Start(ctx context.Context, out io.Writer) (*Suite, error) {
	s := &Suite{out: out, Report: &Report{out: out}}
	var err error
	if s.Root, err = product.Root(); err != nil {
		return nil, err
	}
	if s.release, err = cluster.Reserve(ctx, out); err != nil {
		return nil, err
	}
	c, err := cluster.Up(ctx, out)
	if err != nil {
		return nil, err
	}
	if s.Images, err = product.Build(ctx, c, s.Root); err != nil {
		return nil, err
	}
	if s.Images.Flow, err = c.FlowImage(ctx); err != nil {
		return nil, err
	}
	s.Cluster = c
	if s.Config, err = product.Config(c.Kubeconfig); err != nil {
		return nil, err
	}
	if err := s.connect(); err != nil {
		return nil, err
	}
	return s, errors.Join(s.prerequisites(ctx), s.removeLeftovers(ctx))
}

func (s *Suite) connect() error {
	client, err := kubernetes.NewForConfig(s.Config)
	if err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	s.Client = client
	if s.Dynamic, err = dynamic.NewForConfig(s.Config); err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	s.Mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery()))
	return nil
}

// prerequisites are named all at once, before the first scenario waits for one.
func (s *Suite) prerequisites(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var errs []error
	for _, name := range []string{"keda-operator", "keda-metrics-apiserver"} {
		d, err := s.Client.AppsV1().Deployments("keda").Get(ctx, name, metav1.GetOptions{})
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("prerequisite KEDA: %w", err))
		case d.Status.ReadyReplicas == 0:
			errs = append(errs, fmt.Errorf("prerequisite KEDA: deployment %s is not ready", name))
		}
	}
	if _, err := s.Mapper.RESTMapping(schema.GroupKind{Group: "keda.sh", Kind: "ScaledObject"}, "v1alpha1"); err != nil {
		errs = append(errs, fmt.Errorf("prerequisite KEDA: %w", err))
	}
	return errors.Join(errs...)
}

func (s *Suite) removeLeftovers(ctx context.Context) error {
	left, err := s.Client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: ours})
	if err != nil {
		return fmt.Errorf("find leftovers of earlier runs: %w", err)
	}
	for i := range left.Items {
		if err := s.removeNamespace(ctx, left.Items[i].Name); err != nil {
			return err
		}
	}
	hooks := s.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if err := hooks.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: ours}); err != nil {
		return fmt.Errorf("remove leftovers of earlier runs: %w", err)
	}
	return os.RemoveAll(filepath.Join(s.Root, "e2e/out"))
}

func (s *Suite) removeNamespace(ctx context.Context, name string) error {
	now := int64(0)
	// Its pods are not needed any more, and draining them would slow down the next scenario.
	err := s.Client.CoreV1().Pods(name).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{})
	if err := errors.Join(err, s.Client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove namespace %s: %w", name, err)
	}
	return nil
}
