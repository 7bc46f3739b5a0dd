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
	"k8s.io/client-go/kubernetes"

	"github.com/prefect-keda/prefect-keda/e2e/cluster"
	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest/control"
)

// stage is where the show takes place.
type stage struct {
	cluster *cluster.Cluster
	client  kubernetes.Interface
	prefect control.Client
	flows   map[string]string
	out     io.Writer
}

func up(ctx context.Context, out io.Writer, burst int, picture string) error {
	root, err := product.Root()
	if err != nil {
		return err
	}
	release, err := cluster.Reserve(ctx, out)
	if err != nil {
		return err
	}
	defer release()
	s, err := setStage(ctx, out, root)
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
		if err := os.WriteFile(path, draw(samples, marks).SVG(), 0o644); err != nil {
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
    kubectl get --raw /api/v1/namespaces/%s/services/%s:control/proxy/control/runs     # what Prefect knows

    make demo         again
    make demo-down    remove the cluster

To use it with your own Prefect: README.md, "Install".
`, s.cluster.KubectlHint(), product.Namespace, product.Flows, product.Namespace, product.Scaler, product.Namespace, product.Scaler, product.Namespace, product.Namespace, product.StandIn)
	return nil
}

// setStage installs everything, with the flows registered, at zero.
func setStage(ctx context.Context, out io.Writer, root string) (*stage, error) {
	c, err := cluster.Up(ctx, out)
	if err != nil {
		return nil, err
	}
	images, err := product.Build(ctx, c, root)
	if err != nil {
		return nil, err
	}
	cfg, err := product.Config(c.Kubeconfig)
	if err != nil {
		return nil, err
	}
	s := &stage{cluster: c, out: out}
	if s.client, err = kubernetes.NewForConfig(cfg); err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	if s.prefect, err = product.Levers(cfg, product.Namespace); err != nil {
		return nil, err
	}
	fmt.Fprintln(out, "==> prefect-keda, and a stand-in Prefect API")
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"remove what an earlier demo left", s.clear},
		{"kubectl apply -k manifests/overlays/demo", func(ctx context.Context) error {
			there, err := c.Copy(ctx, filepath.Join(root, "manifests"))
			if err != nil {
				return err
			}
			_, err = c.Kubectl(ctx, "apply", "-k", there+"/overlays/demo")
			return err
		}},
		{"wait until it is ready, at zero launchers", s.awaitReady},
		{"register flows with the real Prefect 1.4.1 client", func(ctx context.Context) error { return s.register(ctx, images.Flow) }},
	} {
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", step.what, err)
		}
		fmt.Fprintf(out, "  • %s: %.1f s\n", step.what, time.Since(began).Seconds())
	}
	return s, nil
}

// clear starts from empty namespaces: the stand-in keeps its runs in memory,
// and the picture shall show those of this time only.
func (s *stage) clear(ctx context.Context) error {
	_, err := s.cluster.Kubectl(ctx, "delete", "namespace", product.Namespace, product.Flows, "--ignore-not-found", "--wait", "--timeout=3m")
	return err
}

func (s *stage) awaitReady(ctx context.Context) error {
	for _, d := range []string{product.StandIn, product.Scaler} {
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

func (s *stage) register(ctx context.Context, flowImage string) error {
	job := product.RegisterJob(product.Namespace, flowImage)
	if _, err := s.client.BatchV1().Jobs(product.Namespace).Create(ctx, job, metav1.CreateOptions{}); err != nil {
		return err
	}
	return poll(ctx, 3*time.Minute, func(ctx context.Context) (bool, error) {
		ids, _, err := product.RegisteredFlows(ctx, s.client, product.Namespace)
		s.flows = ids
		return ids != nil, err
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
