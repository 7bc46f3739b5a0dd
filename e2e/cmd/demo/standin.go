package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest/control"
)

// standIn is Prefect 1: the stand-in API of the demo overlay.
type standIn struct {
	levers control.Client
	flows  map[string]string
}

func (p *standIn) client() string   { return "the real Prefect 1.4.1 client" }
func (p *standIn) place() string    { return "waiting for a launcher" }
func (p *standIn) runLabel() string { return kubernetesrun.LabelFlowRunID }

func (p *standIn) install(ctx context.Context, s *stage) error {
	flowImage, err := s.cluster.FlowImage(ctx)
	if err != nil {
		return err
	}
	if p.levers, err = product.Levers(s.config, product.Namespace); err != nil {
		return err
	}
	fmt.Fprintln(s.out, "==> prefect-keda, and a stand-in Prefect API")
	return s.steps(ctx,
		step{"remove what an earlier demo left", s.clear},
		step{"kubectl apply -k manifests/overlays/demo", func(ctx context.Context) error {
			there, err := s.cluster.Copy(ctx, filepath.Join(s.root, "manifests"))
			if err != nil {
				return err
			}
			_, err = s.cluster.Kubectl(ctx, "apply", "-k", there+"/overlays/demo")
			return err
		}},
		step{"wait until it is ready, at zero launchers", func(ctx context.Context) error {
			return s.awaitReady(ctx, product.StandIn, product.Scaler)
		}},
		step{"register flows with the real Prefect 1.4.1 client", func(ctx context.Context) error { return p.register(ctx, s, flowImage) }},
	)
}

func (p *standIn) register(ctx context.Context, s *stage, flowImage string) error {
	job := product.RegisterJob(product.Namespace, flowImage)
	if _, err := s.client.BatchV1().Jobs(product.Namespace).Create(ctx, job, metav1.CreateOptions{}); err != nil {
		return err
	}
	return poll(ctx, 3*time.Minute, func(ctx context.Context) (bool, error) {
		ids, _, err := product.RegisteredFlows(ctx, s.client, product.Namespace)
		p.flows = ids
		return ids != nil, err
	})
}

func (p *standIn) create(ctx context.Context, n int, in time.Duration) error {
	_, err := p.levers.CreateRuns(ctx, prefecttest.Order{FlowID: p.flows["hello"], Count: n, In: prefecttest.Duration(in)})
	return err
}

func (p *standIn) runs(ctx context.Context) ([]flowRun, error) {
	all, err := p.levers.Runs(ctx)
	var runs []flowRun
	for _, r := range all {
		runs = append(runs, flowRun{
			state: r.State, waits: prefecttest.IsScheduled(r.State), due: r.Due, ended: prefecttest.IsFinished(r.State), well: r.State == "Success",
		})
	}
	return runs, err
}

func (p *standIn) next(*stage) string {
	return fmt.Sprintf(`    kubectl get --raw /api/v1/namespaces/%s/services/%s:control/proxy/control/runs     # what Prefect knows

More flow runs, of the flow "hello":

    echo '{"flow_id": "%s", "count": 3}' | kubectl create -f - --raw /api/v1/namespaces/%s/services/%s:control/proxy/control/runs

    make demo         again
`, product.Namespace, product.StandIn, p.flows["hello"], product.Namespace, product.StandIn)
}
