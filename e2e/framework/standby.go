package framework

import (
	"context"
	"fmt"
	"time"

	"github.com/prefect-keda/prefect-keda/e2e/product"
)

// WaitForAskedScaler waits until two scalers are ready and KEDA listens to one of them, and
// returns their pods.
func (e *Env) WaitForAskedScaler(within time.Duration) (asked, other string) {
	e.t.Helper()
	e.Eventually(within, "KEDA listens to one of two scalers", func(ctx context.Context) (string, bool) {
		asked, other = "", ""
		pods := e.pods(ctx, product.Scaler)
		for i := range pods {
			switch streams, err := e.streamsOf(ctx, pods[i].Name); {
			case err != nil || !isReady(&pods[i]):
				return fmt.Sprintf("%s is not ready: %v", pods[i].Name, err), false
			case streams > 0:
				asked = pods[i].Name
			default:
				other = pods[i].Name
			}
		}
		return fmt.Sprintf("%d pods, it listens to %q", len(pods), asked), len(pods) == 2 && asked != "" && other != ""
	})
	return asked, other
}

// WaitForStreamTo waits until KEDA listens to a pod of the scaler.
func (e *Env) WaitForStreamTo(pod string, within time.Duration) {
	e.t.Helper()
	e.Eventually(within, "KEDA listens to "+pod, func(ctx context.Context) (string, bool) {
		streams, err := e.streamsOf(ctx, pod)
		return fmt.Sprint(err), streams > 0
	})
}

func (e *Env) streamsOf(ctx context.Context, pod string) (float64, error) {
	all, err := e.MetricsOf(ctx, pod)
	return all["prefect_keda_scaler_streams"], err
}
