package framework

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/e2e/product"
)

// scalerMetrics are the series of the scaler's newest pod, by name and labels in the
// spelling of /metrics.
func (e *Env) scalerMetrics(ctx context.Context) (map[string]float64, error) {
	pods := slices.DeleteFunc(e.pods(ctx, product.Scaler), func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	if len(pods) == 0 {
		return nil, errors.New("the scaler has no pod")
	}
	newest := slices.MaxFunc(pods, func(a, b corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	return e.MetricsOf(ctx, newest.Name)
}

// MetricsOf are the series of one of the product's pods.
func (e *Env) MetricsOf(ctx context.Context, pod string) (map[string]float64, error) {
	text, err := product.Get(ctx, e.Config, e.Namespace, "pods", pod, "8080", "/metrics")
	if err != nil {
		return nil, err
	}
	series := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		if series[line[:at]], err = strconv.ParseFloat(line[at+1:], 64); err != nil {
			return nil, fmt.Errorf("read the metrics of %s: %w", pod, err)
		}
	}
	return series, nil
}

// ScalerMetric is one series of the scaler; 0 when it does not have it.
func (e *Env) ScalerMetric(series string) float64 {
	e.t.Helper()
	all, err := e.scalerMetrics(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	return all[series]
}

// Edges is how often the scaler has pushed to KEDA that demand began.
func (e *Env) Edges() int {
	e.t.Helper()
	return int(e.ScalerMetric(`prefect_keda_scaler_activations_total{reason="edge"}`))
}

// AssertPushedSince fails unless the scaler has pushed to KEDA since Edges was read.
func (e *Env) AssertPushedSince(edges int) {
	e.t.Helper()
	if e.Edges() <= edges {
		e.t.Error("a launcher came, and the scaler had not pushed that demand began")
	}
}

// WaitForNoDemand waits until no ScaledObject is told to be active, so that the next run is
// news.
func (e *Env) WaitForNoDemand(within time.Duration) {
	e.t.Helper()
	e.Eventually(within, "the scaler sees no demand", func(ctx context.Context) (string, bool) {
		all, err := e.scalerMetrics(ctx)
		known, active := 0, 0.0
		for series, n := range all {
			if strings.HasPrefix(series, "prefect_keda_scaler_active{") {
				known, active = known+1, active+n
			}
		}
		return fmt.Sprintf("%.0f of %d are active, %v", active, known, err), known > 0 && active == 0
	})
}

// WaitForStream waits until KEDA listens to the scaler. Now and then KEDA tries for ever to
// listen through a connection that it has closed ("no pooled connection for scaler address …,
// the scaler is closed"); a changed ScaledObject makes it open a new one.
func (e *Env) WaitForStream() {
	e.t.Helper()
	anew := time.Now().Add(45 * time.Second)
	e.Eventually(2*time.Minute, "KEDA listens to the scaler", func(ctx context.Context) (string, bool) {
		all, err := e.scalerMetrics(ctx)
		listens := all["prefect_keda_scaler_streams"] > 0
		if !listens && !anew.IsZero() && time.Now().After(anew) {
			e.t.Log("KEDA does not listen; changing the ScaledObject")
			e.patch(ctx, product.Launcher, `{"spec":{"pollingInterval":301}}`)
			anew = time.Time{}
		}
		return fmt.Sprint(err), listens
	})
}

// IsAsked reports whether anybody but the kubelet has reached the scaler's port: KEDA.
func (e *Env) IsAsked(ctx context.Context) (bool, error) {
	all, err := e.scalerMetrics(ctx)
	asked := all["prefect_keda_scaler_streams"] > 0
	for series, n := range all {
		asked = asked || strings.HasPrefix(series, "prefect_keda_scaler_requests_total") && n > 0
	}
	return asked, err
}

// WaitForRefusedAnswers waits until KEDA has asked the scaler for the metric and
// got an error more often than that, and returns how often.
func (e *Env) WaitForRefusedAnswers(moreThan int, within time.Duration) int {
	e.t.Helper()
	refused := 0
	e.Eventually(within, "KEDA is answered errors", func(ctx context.Context) (string, bool) {
		all, err := e.scalerMetrics(ctx)
		if err != nil {
			return err.Error(), false
		}
		n := 0.0
		for series, value := range all {
			if strings.HasPrefix(series, "prefect_keda_scaler_requests_total{") && strings.Contains(series, `"GetMetrics"`) && !strings.Contains(series, `"OK"`) {
				n += value
			}
		}
		refused = int(n)
		return fmt.Sprintf("%d times", refused), refused > moreThan
	})
	return refused
}
