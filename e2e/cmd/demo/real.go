package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/prefect-keda/prefect-keda/e2e/prefectapi"
	"github.com/prefect-keda/prefect-keda/e2e/product"
)

const (
	// serverNamespace is where the server is, as that of Prefect's Helm chart.
	serverNamespace = "prefect"
	pool            = "kubernetes"
)

// real is Prefect 3: the real server on PostgreSQL, with a work pool.
type real struct {
	image      string
	api        *prefectapi.Client
	deployment string
}

func (p *real) client() string   { return "the real Prefect 3.9.1 server and client" }
func (p *real) place() string    { return "in the work pool " + pool }
func (p *real) runLabel() string { return "prefect.io/flow-run-id" }

func (p *real) install(ctx context.Context, s *stage) error {
	var err error
	if p.image, err = s.cluster.Prefect3Image(ctx); err != nil {
		return err
	}
	server, err := product.Prefect3(serverNamespace, p.image)
	if err != nil {
		return err
	}
	ours, err := product.RenderForPrefect3(s.root, product.Namespace, product.Prefect3URL(serverNamespace), pool)
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out, "==> prefect-keda, and the real Prefect 3 server on PostgreSQL")
	return s.steps(ctx,
		step{"remove what an earlier demo left", s.clear},
		step{"start PostgreSQL and the server", func(ctx context.Context) error { return p.start(ctx, s, server) }},
		step{"make the work pool " + pool + " and a deployment", func(ctx context.Context) error { return p.deploy(ctx) }},
		step{"install prefect-keda as manifests/overlays/prefect3-server does", func(ctx context.Context) error {
			return s.apply(ctx, forTheShow(ours))
		}},
		step{"wait until it is ready, at zero launchers", func(ctx context.Context) error { return s.awaitReady(ctx, product.Scaler) }},
	)
}

// forTheShow lets launchers leave soon, and gives both namespaces the server's auth string.
func forTheShow(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	var namespaces, rest []*unstructured.Unstructured
	for _, o := range objects {
		switch o.GetKind() {
		case "Namespace":
			namespaces = append(namespaces, o)
			continue
		case "ScaledObject":
			_ = unstructured.SetNestedField(o.Object, int64(10), "spec", "cooldownPeriod")
			_ = unstructured.SetNestedField(o.Object, int64(0), "spec", "initialCooldownPeriod")
		}
		rest = append(rest, o)
	}
	return slices.Concat(namespaces, product.AuthSecrets(product.Namespace, product.Flows), rest)
}

// start starts the server and waits until it answers.
func (p *real) start(ctx context.Context, s *stage, objects []*unstructured.Unstructured) error {
	if _, err := s.cluster.Kubectl(ctx, "create", "namespace", serverNamespace); err != nil {
		return err
	}
	if err := s.apply(ctx, objects); err != nil {
		return err
	}
	service, err := s.client.CoreV1().Services(serverNamespace).Get(ctx, product.Server, metav1.GetOptions{})
	if err != nil {
		return err
	}
	p.api = prefectapi.New("http://"+product.Server+"/api", product.AuthString(), s.cluster.Transport(net.JoinHostPort(service.Spec.ClusterIP, "4200")))
	return poll(ctx, 4*time.Minute, func(ctx context.Context) (bool, error) {
		return p.api.Ready(ctx) == nil, nil
	})
}

func (p *real) deploy(ctx context.Context) error {
	template := prefectapi.Template(map[string]any{"namespace": product.Flows, "image": p.image})
	if err := p.api.CreatePool(ctx, pool, template, 0); err != nil {
		return err
	}
	var err error
	p.deployment, err = p.api.CreateDeployment(ctx, prefectapi.Deployment{
		Flow: "hello", Name: "hello", Pool: pool, Entrypoint: "prefect3_flows.py:hello",
	})
	return err
}

func (p *real) create(ctx context.Context, n int, in time.Duration) error {
	order := prefectapi.Order{Parameters: map[string]any{"name": "whoever watches"}}
	if in > 0 {
		order.At = time.Now().Add(in)
	}
	for range n {
		if _, err := p.api.CreateRun(ctx, p.deployment, order); err != nil {
			return err
		}
	}
	return nil
}

func (p *real) runs(ctx context.Context) ([]flowRun, error) {
	all, err := p.api.Runs(ctx, pool)
	var runs []flowRun
	for _, r := range all {
		runs = append(runs, flowRun{
			state: r.State.Name, waits: r.State.Type == "SCHEDULED", due: r.Next,
			ended: slices.Contains([]string{"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}, r.State.Type), well: r.State.Type == "COMPLETED",
		})
	}
	return runs, err
}

func (p *real) next(s *stage) string {
	return fmt.Sprintf(`
Prefect's own UI, which asks for the auth string %q:

%s

More flow runs: in the UI, Deployments, hello, Run.

    make demo PREFECT=3         again
`, product.AuthString(), s.cluster.ForwardHint(serverNamespace, product.Server, 4200))
}
