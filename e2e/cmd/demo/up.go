package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/prefect-keda/prefect-keda/e2e/cluster"
	"github.com/prefect-keda/prefect-keda/e2e/product"
)

// stage is where the show takes place.
type stage struct {
	root    string
	cluster *cluster.Cluster
	config  *rest.Config
	client  kubernetes.Interface
	prefect prefect
	out     io.Writer
}

func up(ctx context.Context, out io.Writer, p prefect, burst int, picture string) error {
	root, err := product.Root()
	if err != nil {
		return err
	}
	release, err := cluster.Reserve(ctx, out)
	if err != nil {
		return err
	}
	defer release()
	s, err := setStage(ctx, out, root, p)
	if err != nil {
		return err
	}
	samples, marks, err := s.show(ctx, burst)
	if err != nil {
		return err
	}
	if picture != "" {
		path := filepath.Join(root, picture)
		if filepath.IsAbs(picture) {
			path = picture
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("keep the picture: %w", err)
		}
		if err := os.WriteFile(path, draw(samples, marks, p.client(), p.place()).SVG(), 0o644); err != nil {
			return fmt.Errorf("keep the picture: %w", err)
		}
		fmt.Fprintf(out, "==> the picture of it is %s\n", path)
	}
	fmt.Fprintf(out, `
Everything is still there, at zero. Next:

    %s
    kubectl -n %s get scaledobject,deployment
    kubectl -n %s get jobs                       # the flows'
    kubectl -n %s logs deploy/%s                # what the scaler did
    pod=$(kubectl -n %s get pods -l app.kubernetes.io/name=%s -o jsonpath={.items[0].metadata.name})
    kubectl get --raw /api/v1/namespaces/%s/pods/$pod:8080/proxy/debug/demand                # why the number is what it is
%s    make demo-down    remove the cluster

To use it with your own Prefect: README.md, "Install".
`, s.cluster.KubectlHint(), product.Namespace, product.Flows, product.Namespace, product.Scaler, product.Namespace, product.Scaler, product.Namespace, p.next(s))
	return nil
}

// setStage installs everything, at zero.
func setStage(ctx context.Context, out io.Writer, root string, p prefect) (*stage, error) {
	c, err := cluster.Up(ctx, out)
	if err != nil {
		return nil, err
	}
	if _, err := product.Build(ctx, c, root); err != nil {
		return nil, err
	}
	s := &stage{root: root, cluster: c, prefect: p, out: out}
	if s.config, err = product.Config(c.Kubeconfig); err != nil {
		return nil, err
	}
	if s.client, err = kubernetes.NewForConfig(s.config); err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return s, p.install(ctx, s)
}

// step is a part of the preparation.
type step struct {
	what string
	do   func(context.Context) error
}

// steps takes one step after the other, and says how long each took.
func (s *stage) steps(ctx context.Context, all ...step) error {
	for _, step := range all {
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		fmt.Fprintf(s.out, "  • %s: %.1f s\n", step.what, time.Since(began).Seconds())
	}
	return nil
}

func (s *stage) apply(ctx context.Context, objects []*unstructured.Unstructured) error {
	client, err := dynamic.NewForConfig(s.config)
	if err != nil {
		return err
	}
	return product.Apply(ctx, client, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(s.client.Discovery())), objects, false)
}

// clear starts from empty namespaces, so that the picture shows only this demo's runs: the
// stand-in keeps its runs in memory.
func (s *stage) clear(ctx context.Context) error {
	_, err := s.cluster.Kubectl(ctx, "delete", "namespace", product.Namespace, product.Flows, serverNamespace, "--ignore-not-found", "--wait", "--timeout=3m")
	return err
}

func (s *stage) awaitReady(ctx context.Context, deployments ...string) error {
	for _, d := range deployments {
		if _, err := s.cluster.Kubectl(ctx, "-n", product.Namespace, "rollout", "status", "deployment/"+d, "--timeout=2m"); err != nil {
			return err
		}
	}
	if _, err := s.cluster.Kubectl(ctx, "-n", product.Namespace, "wait", "--for=condition=Ready", "scaledobject/"+product.Launcher, "--timeout=2m"); err != nil {
		return err
	}
	return poll(ctx, time.Minute, func(ctx context.Context) (bool, error) {
		d, err := s.client.AppsV1().Deployments(product.Namespace).Get(ctx, product.Launcher, metav1.GetOptions{})
		return err == nil && *d.Spec.Replicas == 0 && d.Status.Replicas == 0, err
	})
}

// poll asks until the answer is yes, an error, or time is up.
func poll(ctx context.Context, within time.Duration, ask func(context.Context) (bool, error)) error {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		yes, err := ask(limited)
		if yes || err != nil && ctx.Err() == nil && limited.Err() == nil {
			return err
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("it took longer than %s", strings.TrimSuffix(within.String(), "0s"))
		case <-time.After(200 * time.Millisecond):
		}
	}
}
