package framework

import (
	"context"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
)

// RegisterFlows registers the flows of the flow image with the stand-in API, by
// the real Prefect client, and returns their ids by name.
func (e *Env) RegisterFlows() map[string]string {
	e.t.Helper()
	j := product.RegisterJob(e.Namespace, e.Images.Flow)
	if _, err := e.Client.BatchV1().Jobs(e.Namespace).Create(e.t.Context(), j, metav1.CreateOptions{}); err != nil {
		e.t.Fatal(err)
	}
	var flows map[string]string
	e.Eventually(2*time.Minute, "the flows are registered", func(ctx context.Context) (string, bool) {
		ids, seen, err := product.RegisteredFlows(ctx, e.Client, e.Namespace)
		if err != nil {
			e.t.Fatal(err)
		}
		flows = ids
		return seen, ids != nil
	})
	return flows
}

// Claimants are the launchers whose claims the flow runs carry.
func (e *Env) Claimants(runs []string) []string {
	e.t.Helper()
	transport, err := rest.TransportFor(e.Config)
	if err != nil {
		e.t.Fatal(err)
	}
	client, err := prefect1.New(prefect1.Options{
		API: product.APIURL(e.Config, e.Namespace), Backend: "server", AgentName: "e2e", HTTPTransport: transport,
	})
	if err != nil {
		e.t.Fatal(err)
	}
	by := map[string]bool{}
	for _, id := range runs {
		run, err := client.FlowRun(e.t.Context(), id)
		if err != nil {
			e.t.Fatal(err)
		}
		if run.Claim != nil {
			by[run.Claim.Launcher] = true
		}
	}
	return slices.Sorted(maps.Keys(by))
}
